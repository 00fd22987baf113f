"""A potential from the weights of another package, renamed to ours."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from schnetgeo.errors import InputError
from schnetgeo.nn.mlp import ShiftedSoftplus
from schnetgeo.nn.model import AtomisticModel
from schnetgeo.nn.readout import MeanReadout
from schnetgeo.potential import Potential
from schnetgeo.targets import Target, known_target
from schnetgeo.units import conversion

Rules = Sequence[tuple[str, str]]  # patterns of names and what replaces them, one after the other


@dataclass(frozen=True)
class Meaning:
    """What a model's output is; other packages do not write it into their files.

    Args:
        unit: of the output, such as "eV".
        target: name of the property, one of `schnetgeo.targets.TARGETS`, or a `Target`.
    """

    unit: str | None = None
    target: str | Target = "energy"

    def resolve(self, extensive: bool) -> tuple[Target, float]:
        """The target of the potential, and the value of the model's unit in the target's.

        Raises:
            InputError: without a unit, and for one of another dimension.
        """
        target = known_target(self.target) if isinstance(self.target, str) else self.target
        if self.unit is None:
            raise InputError(
                f"unit: the file does not say in what unit its {target.name} is; give it, such as "
                f"unit={target.unit!r}"
            )
        return replace(target, extensive=extensive), conversion(self.unit, target.unit)


@dataclass
class Source:
    """A model of another package, in our terms.

    Args:
        model: of ours, with weights to be replaced.
        weights: by the names of its parameters and buffers; smaller ones are filled with zeros.
        references: constant of each atom, (Z,), in the unit of the source.
        scale: factor of the model's output, likewise.
        dtype: of the weights.
        notes: for the model file.
    """

    model: AtomisticModel
    weights: dict[str, Tensor]
    references: Tensor | float = 0.0
    scale: float = 1.0
    dtype: torch.dtype = torch.float32
    notes: dict = field(default_factory=dict)

    def potential(self, meaning: Meaning) -> Potential:
        """The potential in evaluation mode."""
        mean = isinstance(self.model.readout, MeanReadout)
        extensive = self.model.readout.extensive and not mean
        target, unit = meaning.resolve(bool(extensive))
        references = torch.as_tensor(self.references, dtype=torch.float64).detach() * unit
        references = _rows(references, self.model.max_z)
        model = self.model.to(self.dtype)
        load(model, self.weights)
        potential = Potential(model, references, self.scale * unit, targets=[target])
        potential.notes = self.notes
        return potential.eval()


@torch.no_grad()
def load(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a model weights by its own names, filled up with zeros where they are smaller.

    Raises:
        InputError: for a name that is missing or not known, and for larger weights.
    """
    places = dict(model.named_parameters()) | dict(model.named_buffers())
    missing, unknown = (
        sorted(places.keys() - weights.keys()),
        sorted(weights.keys() - places.keys()),
    )
    if missing or unknown:
        what = f"has no {missing[0]}" if missing else f"has {unknown[0]}, which is not known"
        raise InputError(f"the model to read {what}; its version or variant is not supported")
    for name, place in places.items():
        value = weights[name].detach().clone()
        sizes = tuple(value.shape), tuple(place.shape)
        if value.dim() != place.dim() or any(a > b for a, b in zip(*sizes, strict=True)):
            raise InputError(f"{name} has shape {sizes[0]}, which does not fit {sizes[1]}")
        place.zero_()
        place[tuple(map(slice, value.shape))] = value.to(place)


def renamed(weights: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """The same tensors by other names; without those that a rule names "".

    Raises:
        InputError: where two get one name.
    """
    result: dict[str, Tensor] = {}
    for name, value in weights.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        if name in result:
            raise InputError(f"the model to read has {name} twice")
        if name:
            result[name] = value
    return result


def count(names: Iterable[str], pattern: str) -> int:
    """How many numbers, from 0 on, a pattern with one group matches in names."""
    numbers = {int(match[1]) for name in names if (match := re.match(pattern, name))}
    if not numbers or numbers != {*range(len(numbers))}:
        raise InputError(f"the model to read has no layers {pattern!r}, or some are missing")
    return len(numbers)


def shift_softplus(weights: dict[str, Tensor], shift: float, layers: Iterable[str]) -> None:
    """Make the next layers' biases take in that ssp(x) = softplus(x) − shift, where we have ln 2.

    PyG and TorchMD-Net round ln 2 to float32.

    Args:
        weights: changed in place.
        shift: of the source.
        layers: names of the layers that come after the activations.
    """
    difference = float(np.log(2.0)) - shift
    for name in layers:
        total = weights[f"{name}.weight"].double().sum(1)
        bias = weights[f"{name}.bias"]
        weights[f"{name}.bias"] = (bias.double() + difference * total).to(bias)


def decimal(value: float | Tensor) -> float:
    """The shortest decimal that rounds to a float32 number: 5.3 of 5.300000190734863."""
    return float(str(np.float32(float(value))))


def activation_class(name: str) -> type[nn.Module]:
    """Our class of an activation, from the name of another package's class or function.

    Raises:
        InputError: for one without a counterpart.
    """
    known = {
        "shifted_softplus": ShiftedSoftplus, "ShiftedSoftplus": ShiftedSoftplus,
        "ssp": ShiftedSoftplus, "silu": nn.SiLU, "SiLU": nn.SiLU, "swish": nn.SiLU,
        "Swish": nn.SiLU, "tanh": nn.Tanh, "Tanh": nn.Tanh, "sigmoid": nn.Sigmoid,
        "Sigmoid": nn.Sigmoid,
    }  # fmt: skip
    if name not in known:
        raise InputError(f"activation {name!r:.60} has no counterpart; known: {', '.join(known)}")
    return known[name]


def _rows(references: Tensor, max_z: int) -> Tensor:
    """A row for each atomic number of the model; a constant is the same for all."""
    if references.dim() == 0:
        return references.expand(max_z)
    references = references.reshape(-1)[:max_z]
    return F.pad(references, (0, max_z - len(references)))
