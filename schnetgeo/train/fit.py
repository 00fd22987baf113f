"""One call from structures to a trained model file."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from schnetgeo.data.coverage import Coverage
from schnetgeo.data.packed import PackedDataset
from schnetgeo.data.statistics import compositions, fit_composition, fit_normalization
from schnetgeo.data.validate import check_elements
from schnetgeo.errors import InputError
from schnetgeo.nn.model_file import read_model
from schnetgeo.nn.potential import Potential
from schnetgeo.train.configuration import Training
from schnetgeo.train.loss import LABELS
from schnetgeo.train.metrics import predict
from schnetgeo.train.resume import check_resume, settings

if TYPE_CHECKING:
    from lightning import Callback

MODEL = "model.safetensors"
CHECKPOINT = "last.ckpt"


class Fit(NamedTuple):
    """The end of a training."""

    potential: Potential  # the averaged weights with the lowest validation loss
    steps: int
    stopped_by: str  # "max_steps", "max_minutes", "early_stopping" or "diverged"
    seconds: float  # of training, from the end of the first step on
    compile_seconds: float  # of the first step, most of which is compiling where nothing is cached


def new_potential(model: torch.nn.Module, train: PackedDataset) -> Potential:
    """A potential with references and scale fitted on the training structures."""
    _check_set("train", train)
    check_elements(train.packed, model.max_z, train.where)
    potential = Potential(model, *fit_normalization(train, model.max_z))
    potential.trained_on = Coverage.of(train)
    return potential


def refit_references(potential: Potential, dataset: PackedDataset) -> None:
    """Shift the references so that no composition is off on average.

    For models trained on forces alone, which leave the offset of the energy open, and for trained
    models that go on with data of another level of theory.
    """
    cover(potential, dataset)
    residual = dataset.values("energy") - predict(potential, dataset, forces=False).energy
    shift = fit_composition(compositions(dataset, potential.model.max_z), residual)
    energies = potential.references.energies
    energies += shift.to(energies.device)


def cover(potential: Potential, train: PackedDataset) -> None:
    """Note that a potential is trained on these structures too."""
    more, before = Coverage.of(train), potential.trained_on
    potential.trained_on = more if before is None else before.union(more)


def fit(
    potential: Potential,
    train: PackedDataset,
    val: PackedDataset,
    training: Training,
    out: str | os.PathLike,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: "Sequence[Callback]" = (),
) -> Fit:
    """Train a potential and leave model file, checkpoint and logs in a folder.

    Args:
        potential: from `new_potential`, or a trained one.
        train: structures to learn from.
        val: structures that choose the best weights; may be empty.
        training: what to do, and when to stop.
        out: folder for `model.safetensors`, `last.ckpt`, and CSV and TensorBoard files in `logs`.
        resume: go on from `last.ckpt`; bit for bit on the CPU as if never interrupted.
        overwrite: begin anew where the folder holds a training.
        callbacks: your own, of Lightning. Optimization is manual there, so that
            `on_before_zero_grad` is not called.

    Raises:
        InputError: if labels that the task needs are missing, or `out` holds another training, or
            one to resume that was begun with another model, options or structures.
    """
    # Lightning takes seconds to import, and doctor must run without it
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    from schnetgeo.train.callbacks import Keep
    from schnetgeo.train.module import PotentialModule
    from schnetgeo.train.trainer import make_trainer, quiet_lightning, stopped_by

    out = Path(out)
    check_start(train, val, training, out, resume, overwrite)
    checkpoint = out / CHECKPOINT
    begun = settings(potential.model, training, train, val)
    if resume and checkpoint.exists():
        check_resume(checkpoint, begun)
    if training.threads:
        torch.set_num_threads(training.threads)
    potential = potential.to(torch.float64 if training.precision == "64" else torch.float32)
    module = PotentialModule(potential.train(), train, val, training, checkpoint, begun)
    keep = Keep(out / MODEL, {"task": training.task})
    with quiet_lightning():
        trainer = make_trainer(training, out, [keep, *callbacks], validate=len(val) > 0)
        if overwrite and trainer.is_global_zero:
            checkpoint.unlink(missing_ok=True)
            (out / MODEL).unlink(missing_ok=True)
        device = trainer.strategy.root_device
        trainer.strategy.barrier()
        try:
            resumed = checkpoint if checkpoint.exists() else None
            trainer.fit(module, ckpt_path=resumed, weights_only=True)
        except SIGTERMException:
            sys.exit(143)  # as the shell reports a process ended by SIGTERM; resume goes on
        if len(val) and trainer.global_step % training.validate_every:
            trainer.validate(module, verbose=False)
    if trainer.is_global_zero and not (len(val) and (out / MODEL).exists()):
        module.average.save(out / MODEL, step=trainer.global_step, **keep.notes)
    trainer.strategy.barrier()
    fitted = module.average.eval().to(device)
    fitted.load_state_dict(read_model(out / MODEL)[1])
    if training.task == "forces" and train.has("energy") and not module.diverged:
        refit_references(fitted, train)
        if trainer.is_global_zero:
            fitted.save(out / MODEL, step=trainer.global_step, **keep.notes)
    return Fit(
        fitted,
        trainer.global_step,
        stopped_by(trainer, module),
        module.seconds,
        module.compile_seconds,
    )


def check_start(
    train: PackedDataset,
    val: PackedDataset,
    training: Training,
    out: str | os.PathLike,
    resume: bool = False,
    overwrite: bool = False,
) -> None:
    """Raise `InputError` where `fit` would, before anything is written."""
    _check_set("train", train)
    _check_set("val", val)
    _check_labels(train, val, training)
    if not str(out).isprintable():  # TensorBoard needs UTF-8
        raise InputError(f"{out}: a folder's name must be printable UTF-8; choose another")
    taken = any((Path(out) / name).exists() for name in (CHECKPOINT, MODEL))
    if taken and not (resume or overwrite):
        raise InputError(
            f"{out}: holds a training already; resume it (--resume), overwrite it (--overwrite), "
            "or choose another folder"
        )


def _check_set(name: str, part: PackedDataset) -> None:
    if not isinstance(part, PackedDataset):
        raise InputError(
            f"{name} must be a data set, such as Demo('ethanol')[:1000], got a "
            f"{type(part).__name__}; the loaders of load_data are for loops of your own"
        )


def _check_labels(train: PackedDataset, val: PackedDataset, training: Training) -> None:
    if not len(val) and (training.schedule == "plateau" or training.stop_patience):
        raise InputError(
            "schedule 'plateau' and stop_patience look at the validation loss, but there are no "
            "validation structures; raise num_val or leave them"
        )
    for name, part in (("training", train), ("validation", val)):
        for label in LABELS[training.task]:
            if len(part) and not part.has(label):
                raise InputError(
                    f"{part.where}: the {name} structures have no {label}, which the task "
                    f"{training.task} needs; name the key of the {label} or choose another task"
                )
