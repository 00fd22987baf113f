"""What is kept of a training, and a progress bar for a training without epochs."""

import math
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.utilities.exceptions import SIGTERMException

from schnetgeo.train.module import PotentialModule


class Keep(L.Callback):
    """Keeps the averaged weights with the lowest validation loss, and the last step at SIGTERM."""

    def __init__(self, path: Path, notes: dict):
        self.path, self.notes = path, notes
        self.lowest = math.inf

    def on_validation_end(self, trainer: L.Trainer, module: PotentialModule):
        loss = trainer.callback_metrics.get("val_loss", torch.tensor(math.inf))
        if not loss < self.lowest:
            return
        self.lowest = float(loss)
        if trainer.is_global_zero:
            module.average.save(self.path, step=trainer.global_step, **self.notes)

    def on_exception(self, trainer: L.Trainer, module: PotentialModule, exception: BaseException):
        if isinstance(exception, SIGTERMException) and trainer.training:
            module.save_checkpoint()

    def state_dict(self) -> dict:
        return {"lowest": self.lowest}

    def load_state_dict(self, state: dict) -> None:
        self.lowest = state["lowest"]


class StepBar(TQDMProgressBar):
    """Counts steps towards max_steps instead of batches of an epoch."""

    def on_train_epoch_start(self, trainer: L.Trainer, *args):
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description("Steps")

    def get_metrics(self, *args) -> dict:
        return {k: v for k, v in super().get_metrics(*args).items() if k != "v_num"}

    @property
    def total_train_batches(self) -> int | float:
        steps = self.trainer.max_steps
        return steps if steps > 0 else math.inf
