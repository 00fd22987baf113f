"""What the arguments of a potential must be."""

from collections.abc import Sequence
from dataclasses import replace
from numbers import Real

import torch
from torch import Tensor, nn

from schnetgeo.errors import InputError
from schnetgeo.nn.heads import Heads
from schnetgeo.nn.readout import Readout
from schnetgeo.potential.output import Output, check_fits, unit_scale
from schnetgeo.targets import ENERGY, Target, check_targets, known_target


def make_outputs(
    model: nn.Module,
    targets: Sequence[Target] | None,
    atomic_references: object,
    scale: object,
    dtype: torch.dtype,
) -> list[Output]:
    """One output for each target of a model; the arguments are those of `Potential`."""
    readouts = readouts_of(model)
    targets = default_targets(model) if targets is None else targets
    check_targets(targets)
    _check_names(model, targets)
    if readouts is None:
        readouts = [None] * len(targets)
    if len(readouts) != len(targets):
        raise InputError(
            f"targets must be one for each head of the model, {len(readouts)}, in their order, got "
            f"{', '.join(target.name for target in targets)}"
        )
    number = len(targets)
    for target, readout in zip(targets, readouts, strict=True):
        check_fits(target, readout)
    if atomic_references is None:
        atomic_references = torch.zeros(number, model.max_z)
    if scale is None:
        scale = [unit_scale(t, r) for t, r in zip(targets, readouts, strict=True)]
    references, scales = _numbers("atomic_references", atomic_references), _numbers("scale", scale)
    if scales.numel() != number:
        expected = "one number" if number == 1 else f"{number} numbers, one for each target"
        raise InputError(f"scale must be {expected}, got shape {tuple(scales.shape)}")
    if references.shape not in ((number, model.max_z), (model.max_z,) * (number == 1)):
        rows = f"({model.max_z},)" if number == 1 else f"({number}, {model.max_z})"
        raise InputError(
            f"atomic_references must have shape {rows}, a row for each atomic number of the model, "
            f"got {tuple(references.shape)}"
        )
    references, scales = references.reshape(number, model.max_z), scales.reshape(number)
    parts = zip(targets, readouts, scales, references, strict=True)
    return [Output(*part, dtype) for part in parts]


def _check_names(model: nn.Module, targets: Sequence[Target]) -> None:
    """Raise `InputError` where heads are named after other targets, or in another order."""
    readout = getattr(model, "readout", None)
    names = [target.name for target in targets]
    if isinstance(readout, Heads) and len(names) == len(readout.heads):
        heads = list(readout.heads)
        if names != heads:
            raise InputError(
                f"targets must be those of the model's heads, {', '.join(heads)}, in this order, "
                f"got {', '.join(names)}; name the heads after the targets"
            )


def readouts_of(model: nn.Module) -> list[Readout] | None:
    """The readout of each head of a model; `None` for a model without readouts."""
    readout = getattr(model, "readout", None)
    if isinstance(readout, Heads):
        return list(readout.heads.values())
    return [readout] if isinstance(readout, Readout) else None


def default_targets(model: nn.Module) -> list[Target]:
    """The targets that heads are named after; the energy for a model without named heads."""
    readout = getattr(model, "readout", None)
    if isinstance(readout, Heads):
        return [known_target(name) for name in readout.heads]
    mean = isinstance(readout, Readout) and readout.extensive is False
    return [replace(ENERGY, extensive=not mean)]


def check_spacing(spacing: object) -> None:
    """Raise `InputError` unless this is a number, or `None`."""
    if spacing is not None and (isinstance(spacing, bool) or not isinstance(spacing, Real)):
        raise InputError(f"spacing must be a number in Å, got {spacing!r:.60}")


def check_model(model: object) -> None:
    """Raise `InputError` unless an object can be the model of a potential."""
    if not isinstance(model, nn.Module):
        raise InputError(
            f"model must be a torch.nn.Module from a batch to energies, got {model!r:.80}; give "
            "one, such as SchNet()"
        )
    missing = [name for name in ("cutoff", "max_z") if not hasattr(model, name)]
    if missing:
        raise InputError(
            f"model must have the attributes cutoff (Å, None for a model without edges) and max_z "
            f"(one more than the largest atomic number), but {type(model).__name__} has no "
            f"{' and no '.join(missing)}; set {' and '.join(missing)}"
        )


def _numbers(name: str, value: object) -> Tensor:
    """A value as a float64 tensor of finite numbers, or an `InputError`."""
    try:
        numbers = torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} must be numbers in eV, got {value!r:.80}") from None
    strange = numbers[~numbers.isfinite()]
    if strange.numel():
        raise InputError(
            f"{name} must be finite in eV, got {float(strange[0])}; leave {name} out, or give a "
            "number"
        )
    return numbers.detach().clone()
