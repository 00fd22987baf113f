"""Lightning's Trainer as a training needs it."""

import contextlib
import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import (
    Checkpoint,
    EarlyStopping,
    GradientAccumulationScheduler,
    ModelSummary,
    ProgressBar,
)
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.states import RunningStage

from schnetgeo.errors import InputError
from schnetgeo.train.callbacks import StepProgressBar, in_terminal_or_notebook
from schnetgeo.train.configuration import TrainingConfig
from schnetgeo.train.module import PotentialModule


def make_trainer(
    training: TrainingConfig,
    out: Path,
    callbacks: list[L.Callback],
    validate: bool,
    loggers: Sequence[Logger] = (),
) -> L.Trainer:
    """A trainer with loggers in `out/logs`, on the processes that torchrun or `devices` name.

    Raises:
        InputError: for a callback that needs Lightning's own optimization.
    """
    if any(isinstance(callback, GradientAccumulationScheduler) for callback in callbacks):
        raise InputError(
            "callbacks: GradientAccumulationScheduler needs Lightning's own optimization; raise "
            "batch_size instead"
        )
    devices, nodes = _processes(training)
    callbacks, bar = list(callbacks), training.progress and in_terminal_or_notebook()
    has_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
    if bar and not has_bar:
        callbacks.append(StepProgressBar(refresh_rate=20))
    if training.stop_patience:
        callbacks.append(EarlyStopping("val_loss", patience=training.stop_patience))
    several = devices * nodes > 1
    csv = CSVLogger(out, name="logs", flush_logs_every_n_steps=1)
    return _Trainer(
        accelerator=_accelerator(training.device),
        devices=devices,
        num_nodes=nodes,
        # forces do not depend on the last bias, and parts of one's own may have no effect at all
        strategy=DDPStrategy(find_unused_parameters=True) if several else "auto",
        plugins=None if several or "SLURM_STEP_ID" in os.environ else [LightningEnvironment()],
        max_steps=training.max_steps or -1,
        max_epochs=-1,
        val_check_interval=training.validate_every if validate else None,
        check_val_every_n_epoch=None,
        limit_val_batches=None if validate else 0,
        num_sanity_val_steps=0,
        logger=[
            csv,
            TensorBoardLogger(out, name="logs", version=csv.version, default_hp_metric=False),
            *loggers,
        ],
        callbacks=callbacks,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_progress_bar=bar or has_bar,
        enable_model_summary=any(isinstance(callback, ModelSummary) for callback in callbacks),
        use_distributed_sampler=False,
        inference_mode=False,
        profiler=_Unprofiled(),
    )


def _processes(training: TrainingConfig) -> tuple[int, int]:
    """Processes per node, and nodes."""
    launched, local = _launched("WORLD_SIZE"), _launched("LOCAL_WORLD_SIZE")
    nodes = launched // local if "LOCAL_WORLD_SIZE" in os.environ else 1  # torchrun sets both
    return (local if training.devices == "auto" else training.devices), nodes


def _launched(variable: str) -> int:
    """How many the launcher says there are; one where there was no launcher."""
    text = os.environ.get(variable, "1")
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise InputError(
            f"the environment variable {variable} is {text!r}, but a number of processes, as "
            "torchrun sets it; unset it"
        )
    return int(text)


class _Trainer(L.Trainer):
    """Lightning asks a dozen times a step whether it trains, and compares strings for it."""

    training = L.Trainer.training.getter(lambda self: self.state.stage is RunningStage.TRAINING)


class _Unprofiled(PassThroughProfiler):
    """Lightning enters one context for each of its dozens of hooks a step."""

    def profile(self, action_name: str) -> contextlib.AbstractContextManager:
        return _NOTHING


_NOTHING = contextlib.nullcontext()


def _accelerator(device: str) -> str:
    """Lightning's own "auto" would take MPS, which has no float64 for the energies."""
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def stopped_by(trainer: L.Trainer, module: PotentialModule) -> str:
    """What ended the training, as in `FitResult`."""
    if module.diverged:
        return "diverged"
    if trainer.global_step == trainer.max_steps:
        return "max_steps"
    return "max_minutes" if module.out_of_time else "early_stopping"


@contextlib.contextmanager
def quiet_lightning():
    """Without Lightning's list of absent accelerators, advertisements, and needless warnings."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # the order of batches depends on the step alone, so nothing is lost on resuming
        warnings.filterwarnings("ignore", ".*dataloader is not resumable.*")
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*LeafSpec.*")
        # every process validates on everything
        warnings.filterwarnings("ignore", ".*sync_dist=True.*")
        warnings.filterwarnings("ignore", "find_unused_parameters=True was specified.*")
        # parts that the user has frozen
        warnings.filterwarnings("ignore", ".*in eval mode at the start of training.*")
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides.*")
        try:
            yield
        finally:
            logger.setLevel(level)
