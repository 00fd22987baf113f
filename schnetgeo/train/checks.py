"""What must hold before a training begins."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from schnetgeo.data.coverage import Coverage
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.structure import Structure, mask_name
from schnetgeo.errors import InputError
from schnetgeo.notes import note
from schnetgeo.potential.potential import Potential
from schnetgeo.potential.rebuilt import check_rebuilds
from schnetgeo.targets import DERIVATIVES, ENERGY, Target
from schnetgeo.train.configuration import TrainingConfig

MODEL = "model.safetensors"
CHECKPOINT = "last.ckpt"


def check_start(
    train: StructureDataset,
    val: StructureDataset,
    training: TrainingConfig,
    out: str | os.PathLike,
    resume: bool = False,
    overwrite: bool = False,
    targets: Sequence[Target] = (ENERGY, *DERIVATIVES),
) -> None:
    """Raise `InputError` where `fit` would for a model of these targets, before it writes."""
    for name, part in (("train", train), ("val", val)):
        check_set(name, part)
        check_target(part, targets)
    _check_labels(train, val, training, targets)
    if not str(out).isprintable():  # TensorBoard needs UTF-8
        raise InputError(f"{out}: a folder's name must be printable UTF-8; choose another")
    if resume and overwrite:
        raise InputError(
            "resume goes on with the training of a folder and overwrite deletes it; give one of "
            "--resume and --overwrite"
        )
    taken = any((Path(out) / name).exists() for name in (CHECKPOINT, MODEL))
    if taken and not (resume or overwrite):
        raise InputError(
            f"{out}: holds a training already; resume it (--resume), overwrite it (--overwrite), "
            "or choose another folder"
        )


def check_potential_trains(potential: Potential, val: StructureDataset, coverage: Coverage) -> None:
    """Raise `InputError` unless there is something to train, and it can be saved at the end.

    Raises:
        InputError: if all parameters are frozen, the model cannot be saved, or validation
            structures have elements that no training structure has.
    """
    if not any(parameter.requires_grad for parameter in potential.parameters()):
        raise InputError(
            "the potential has no parameter that can be trained: all have requires_grad=False; "
            "set it for some, as in potential.requires_grad_(True)"
        )
    check_rebuilds(potential.model, potential.scale.dtype)
    coverage.check_dataset(val)


def note_untrained(potential: Potential, training: TrainingConfig) -> None:
    """Say which heads of a potential no loss looks at."""
    objective = training.objective(potential.targets + DERIVATIVES * potential.has_energy)
    if objective.has_function:
        return
    losses = {loss.target for loss in objective.losses if loss.weight}
    if losses & {target.name for target in DERIVATIVES}:
        losses.add(ENERGY.name)
    names = [target.name for target in potential.targets if target.name not in losses]
    if names:
        note(
            f"no loss is on {', '.join(names)}, of which the model stays as it is; add one "
            "(--losses), or leave that out of the targets"
        )


def check_stores(*parts: StructureDataset) -> None:
    """Raise `InputError` unless the stores that these are parts of are as they were written."""
    stores = {part.path: part for part in parts if not part.in_memory}
    for store in stores.values():
        store.check()


def check_set(name: str, part: StructureDataset) -> None:
    """Raise `InputError` for what is no data set."""
    if isinstance(part, StructureDataset):
        return
    if isinstance(part, torch.utils.data.Subset):
        remedy = "index the data set itself, as in dataset[subset.indices]"
    else:
        remedy = "the loaders of load_data are for loops of your own"
    raise InputError(
        f"{name} must be a data set, such as Demo('ethanol')[:1000], got a "
        f"{type(part).__name__}; {remedy}"
    )


def check_target(part: StructureDataset, targets: Sequence[Target]) -> None:
    """Raise `InputError` for labels of another shape, and for energies of QM9 that are none."""
    for target in targets:
        if part.has_property(target.name):
            check_shape(part, target)
    unit = getattr(part, "unit", "eV")
    if unit != "eV" and ENERGY.name in (target.name for target in targets):
        name = part.target
        raise InputError(
            f"{part.name}: target {name} is in {unit}, but the model predicts energies; take "
            f"another target, or a model of this one: --targets {name}, or readout_for and "
            f"new_potential(model, train, targets=[known_target({name!r})])"
        )


def check_shape(part: StructureDataset, target: Target) -> None:
    """Raise `InputError` unless labels are numbers of the shape that a target has."""
    values = part.packed[target.name]
    per = "atom" if part.is_per_atom(target.name) else "structure"
    if not torch.is_tensor(values) or values.dtype == torch.bool:
        kind = values.dtype if torch.is_tensor(values) else type(values).__name__
        raise InputError(f"{part.name}: {target.name} must be numbers, got {kind}; convert it")
    if (per, tuple(values.shape[1:])) != (target.per, target.shape):
        raise InputError(
            f"{part.name}: {target.name} must have shape {target.shape} for each {target.per}, got "
            f"{tuple(values.shape[1:])} for each {per}; reshape the labels, or define a Target of "
            "this shape"
        )


def check_not_empty(name: str, part: StructureDataset) -> None:
    """Raise `InputError` for what is no data set, or one without structures."""
    check_set(name, part)
    if not len(part):
        raise InputError(f"{part.name}: {name} has no structure; give some")


def _check_labels(
    train: StructureDataset,
    val: StructureDataset,
    training: TrainingConfig,
    targets: Sequence[Target],
) -> None:
    if not len(train):
        raise InputError(f"{train.name}: no structure is left to train on; give some")
    if not len(val) and (training.schedule == "plateau" or training.stop_patience):
        raise InputError(
            "schedule 'plateau' and stop_patience look at the validation loss, but there are no "
            "validation structures; raise num_val or leave them"
        )
    for name, part in (("training", train), ("validation", val)):
        for label in training.objective(targets).targets if len(part) else ():
            if not part.has_property(label) or not check_label(part, label):
                raise InputError(
                    f"{part.name}: the {name} structures have no {label}, which the "
                    f"{_needs(training)}; name the key of the {label} or choose others"
                )


def _needs(training: TrainingConfig) -> str:
    names = training.loss_names
    return f"losses {names} need" if training.losses else f"task {names} needs"


def check_label(part: StructureDataset, label: str) -> int:
    """Rows of a label that are there, all of which must be finite.

    A data set is checked when it is made, but may be changed in place afterwards.

    Raises:
        InputError: names the structure.
    """
    count, first = 0, 0
    for block in part.iter_chunks():
        values = block.get_property(label)[block.mask(label)]
        if not bool(values.isfinite().all()):
            index = next(k for k, data in enumerate(block, first) if _is_wrong(data, label))
            raise InputError(
                f"{part.name}, structure {index}: its {label} is not finite; correct it, or set "
                f"{mask_name(label)} to False where there is none"
            )
        count, first = count + len(values), first + len(block)
    return count


def _is_wrong(data: Structure, label: str) -> bool:
    mask = data.get(mask_name(label))
    return (mask is None or bool(mask)) and not bool(data[label].isfinite().all())
