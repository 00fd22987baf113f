"""One call from structures to a trained model file."""

import contextlib
import copy
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from schnetgeo.data.coverage import Coverage
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.states import note_differing_copies, note_states_of
from schnetgeo.data.statistics import fit_atomic_references, reference_weights
from schnetgeo.data.validate import check_elements
from schnetgeo.errors import InputError
from schnetgeo.nn.model import reads_states
from schnetgeo.notes import note
from schnetgeo.potential.arguments import check_model
from schnetgeo.potential.model_file import read_model
from schnetgeo.potential.potential import Potential
from schnetgeo.targets import FORCES, STRESS
from schnetgeo.train.checks import (
    CHECKPOINT,
    MODEL,
    check_potential_trains,
    check_set,
    check_start,
    check_stores,
    check_target,
    note_untrained,
)
from schnetgeo.train.configuration import TrainingConfig
from schnetgeo.train.default_losses import with_default_losses
from schnetgeo.train.folder import is_first_process, reserve
from schnetgeo.train.interrupt import Interrupt, Interrupted
from schnetgeo.train.loss import FunctionLoss, Loss, LossFunction
from schnetgeo.train.normalize import normalize
from schnetgeo.train.objective import predicted_targets
from schnetgeo.train.predict import predict
from schnetgeo.train.resume import check_resume, run_identity

if TYPE_CHECKING:
    from lightning import Callback
    from lightning.pytorch.loggers import Logger

    from schnetgeo.train.module import PotentialModule


class Diverged(InputError):
    """A training whose loss or weights ceased to be finite before there was a model to keep.

    Args:
        lr: its step size.
        steps: that were done.
        seconds: that they took, from the end of the first on.
        compile_seconds: that the first took.
    """

    def __init__(self, lr: float, steps: int, seconds: float, compile_seconds: float):
        self.steps, self.seconds, self.compile_seconds = steps, seconds, compile_seconds
        super().__init__(
            f"the training had diverged by step {steps}, before there was a model to keep; lower "
            f"lr ({lr:g}), or limit the gradient, as in --clip 10"
        )


class FitResult(NamedTuple):
    """The end of a training."""

    potential: Potential  # the averaged weights with the lowest validation loss
    steps: int
    stopped_by: str  # "max_steps", "max_minutes", "early_stopping" or "diverged"
    seconds: float  # of training, from the end of the first step on
    compile_seconds: float  # of the first step, most of which is compiling where nothing is cached


def new_potential(model: torch.nn.Module, train: StructureDataset, **options) -> Potential:
    """A potential with references and scales fitted on the training structures.

    Args:
        model: the model to train.
        train: structures to learn from.
        **options: `targets`, `filters` and `spacing` of the potential.
    """
    check_model(model)
    check_set("train", train)
    check_elements(train.packed, model.max_z, train.name)
    potential = Potential(model, **options)
    check_target(train, potential.targets)
    normalize(potential, train)
    potential.trained_on = _coverage_of(potential, train)
    return potential


def refit_references(potential: Potential, dataset: StructureDataset) -> None:
    """Shift the references so that no composition is off on average.

    For models trained on forces alone, which leave the offset of the energy open, and for trained
    models that go on with data of another level of theory.
    """
    cover(potential, dataset)
    model = potential.model
    residual = dataset.get_property("energy") - predict(potential, dataset, forces=False).energy
    references = potential.atomic_references
    shift = fit_atomic_references(
        reference_weights(dataset, model.max_z, references.mean), residual
    )
    references.values += shift.to(references.values.device)


def covered(potential: Potential, train: StructureDataset) -> Coverage:
    """What a potential is trained on once it is trained on these structures too."""
    more, before = _coverage_of(potential, train), potential.trained_on
    return more if before is None else before.union(more)


def _coverage_of(potential: Potential, train: StructureDataset) -> Coverage:
    """What structures say about the targets of a potential."""
    explained = [out.target.name for out in potential.outputs if out.atomic_references is not None]
    names = [*(target.name for target in potential.targets), FORCES.name, STRESS.name]
    return Coverage.of(train, explained[0] if explained else None, names)


def cover(potential: Potential, train: StructureDataset) -> None:
    """Note that a potential is trained on these structures too."""
    _cover(potential, train, covered(potential, train))


def _cover(potential: Potential, train: StructureDataset, coverage: Coverage) -> None:
    potential.trained_on = coverage
    note_differing_copies(train)
    if potential.has_energy and not reads_states(potential.model):
        potential.states_noted = note_states_of(train, type(potential.model).__name__)


def fit(
    potential: Potential,
    train: StructureDataset,
    val: StructureDataset,
    training: TrainingConfig,
    out: str | os.PathLike,
    resume: bool = False,
    overwrite: bool = False,
    callbacks: "Sequence[Callback]" = (),
    loggers: "Sequence[Logger]" = (),
    notes: dict | None = None,
    losses: Sequence[Loss | FunctionLoss | LossFunction | str] = (),
) -> FitResult:
    """Train a potential and leave model file, checkpoint and logs in a folder.

    Ctrl-C ends a training after the step that it is in: `last.ckpt` holds that step, and a
    `KeyboardInterrupt` says so. While edges are built and after the last step it ends at once.

    Args:
        potential: from `new_potential`, `load`, or another `FitResult`. It is trained in place, in
            the modes that its parts have if it is in training mode itself; of one in another
            precision than the training's, a copy is trained.
        train: structures to learn from.
        val: structures that choose the best weights; may be empty.
        training: what to do, and when to stop.
        out: folder for `model.safetensors`, `last.ckpt`, and CSV and TensorBoard files in `logs`.
        resume: go on from `last.ckpt`; bit for bit on the CPU as if never interrupted. With
            another max_steps or max_minutes a linear schedule goes on without a jump.
        overwrite: begin anew where the folder holds a training.
        callbacks: your own, of Lightning. Optimization is manual there, so that
            `on_before_zero_grad` is not called.
        loggers: your own, of Lightning, beside the files in `logs`.
        notes: JSON values for the notes of the model file, beside losses, seed and data.
        losses: instead of those of `training`.

    Raises:
        InputError: if labels that the losses need are missing, a store was changed, nothing can be
            trained or saved, validation structures have elements that no training structure has, or
            `out` holds another training, one that is running, or one to resume that was begun with
            another model, options or structures.
        Diverged: if the training diverges before a validation; an `InputError`.
        KeyboardInterrupt: after Ctrl-C.
    """
    if losses:
        training = replace(training, losses=losses)
    out = Path(out)
    check_set("train", train)
    training = with_default_losses(training, potential, train)
    targets = predicted_targets(potential)
    check_start(train, val, training, out, resume, overwrite, targets)
    check_stores(train, val)
    note_untrained(potential, training)
    coverage = covered(potential, train)
    check_potential_trains(potential, val, coverage)
    begun = run_identity(potential, training, train, val)
    if resume and (out / CHECKPOINT).exists():
        check_resume(out / CHECKPOINT, begun)
    dtype = torch.float64 if training.precision == "64" else torch.float32
    if potential.scale.dtype != dtype:
        if dtype == torch.float32:
            note(
                "the potential is in float64, but is trained and saved in float32; set "
                "precision='64' (--precision 64) to keep it"
            )
        potential = copy.deepcopy(potential).to(dtype)
    potential.last_layer = None  # an uncertainty is that of the weights before
    if not potential.training:
        potential.train()
    about = {"task": training.loss_names, "seed": training.seed, "data": train.name}
    about |= {"num_train": len(train), "num_val": len(val), **(notes or {})}
    first = is_first_process()
    with reserve(out), _threads(training.threads), Interrupt() as interrupt:
        if first:  # another training may have ended in the meantime
            check_start(train, val, training, out, resume, overwrite, targets)
        if overwrite and first:
            (out / CHECKPOINT).unlink(missing_ok=True)
            (out / MODEL).unlink(missing_ok=True)
        _cover(potential, train, coverage)
        parts = train, val, training, out
        result = _train(potential, *parts, begun, about, callbacks, loggers, interrupt)
        if interrupt.asked:  # too late to stop anything here
            raise KeyboardInterrupt(
                f"the training has ended at step {result.steps}; {out / MODEL} holds the model"
            )
    return result


def _train(
    potential: Potential,
    train: StructureDataset,
    val: StructureDataset,
    training: TrainingConfig,
    out: Path,
    begun: dict,
    notes: dict,
    callbacks: "Sequence[Callback]",
    loggers: "Sequence[Logger]",
    interrupt: Interrupt,
) -> FitResult:
    # Lightning takes seconds to import, and doctor must run without it
    from schnetgeo.train.callbacks import SaveBest
    from schnetgeo.train.module import PotentialModule
    from schnetgeo.train.trainer import make_trainer, quiet_lightning, stopped_by

    checkpoint = out / CHECKPOINT
    module = PotentialModule(potential, train, val, training, checkpoint, begun, interrupt)
    keep = SaveBest(out / MODEL, notes)
    with quiet_lightning(), _ends(module):
        trainer = make_trainer(training, out, [keep, *callbacks], len(val) > 0, loggers)
        device = trainer.strategy.root_device
        trainer.strategy.barrier()
        resumed = checkpoint if checkpoint.exists() else None
        trainer.fit(module, ckpt_path=resumed, weights_only=True)
        if len(val) and trainer.global_step % training.validate_every:
            trainer.validate(module, verbose=False)
    steps = trainer.global_step
    if module.diverged and not (out / MODEL).exists():
        raise Diverged(training.lr, steps, module.seconds, module.compile_seconds)
    if trainer.is_global_zero and not (len(val) and (out / MODEL).exists()) and not module.diverged:
        keep.save(module.average, steps)
    trainer.strategy.barrier()
    fitted = module.average.eval().to(device)
    header, weights = read_model(out / MODEL)
    fitted.load_state_dict(weights)
    fitted.notes = header["notes"]
    for average, trained in zip(fitted.parameters(), potential.parameters(), strict=True):
        average.requires_grad_(trained.requires_grad)
    learns_energy = not potential.has_energy or "energy" in module.objective.targets
    if not learns_energy and train.has_property("energy") and not module.diverged:
        refit_references(fitted, train)
        if trainer.is_global_zero:
            fitted.save(out / MODEL)
    end = stopped_by(trainer, module)
    return FitResult(fitted, steps, end, module.seconds, module.compile_seconds)


@contextlib.contextmanager
def _ends(module: "PotentialModule") -> Iterator[None]:
    """How a training ends by a signal, or by what Lightning refuses, is said as everywhere."""
    from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

    try:
        yield
    except SIGTERMException:
        sys.exit(143)  # as the shell reports a process ended by SIGTERM; resume goes on
    except (Interrupted, SystemExit) as end:
        by_callback = isinstance(end.__context__, KeyboardInterrupt)  # of which Lightning exits
        if not (isinstance(end, Interrupted) or by_callback):
            raise
        file, step = module.checkpoint, module.saved_step
        left = f"{file} holds step {step}; go on with --resume" if step else "no step was saved"
        raise KeyboardInterrupt(f"the training was stopped: {left}") from None
    except MisconfigurationException as error:
        raise InputError(
            f"Lightning refuses this training: {' '.join(str(error).split())}"
        ) from None


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    """So many CPU threads within the block; 0 leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
