"""What is kept of a training, and a progress bar for a training without epochs."""

import math
import sys
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.utilities.exceptions import SIGTERMException

from schnetgeo.potential.potential import Potential
from schnetgeo.train.module import PotentialModule
from schnetgeo.train.objective import predicted_targets
from schnetgeo.train.shown_units import column, prefix, shown_units


class SaveBest(L.Callback):
    """Keeps the averaged weights with the lowest validation loss, and the last step at a signal.

    The last step is not kept where its validation is to come: a resumed training would pass it by.
    """

    def __init__(self, path: Path, notes: dict):
        self.path, self.notes = path, notes
        self.lowest = math.inf

    def on_validation_end(self, trainer: L.Trainer, module: PotentialModule):
        loss = trainer.callback_metrics.get("val_loss", torch.tensor(math.inf))
        if not loss < self.lowest:
            return
        self.lowest = float(loss)
        if trainer.is_global_zero:
            metrics = {k: float(v) for k, v in trainer.callback_metrics.items() if "val_" in k}
            self.save(module.average, trainer.global_step, validation=metrics)

    def save(self, potential: Potential, step: int, **more) -> None:
        """Write the model file."""
        potential.notes = {**self.notes, "step": step, **more}
        potential.save(self.path)

    def on_exception(self, trainer: L.Trainer, module: PotentialModule, exception: BaseException):
        by_callback = isinstance(exception, KeyboardInterrupt) and not module.interrupt.asked
        between_steps = by_callback and not module.validates
        if trainer.training and (between_steps or isinstance(exception, SIGTERMException)):
            module.finish_step()
            module.save_checkpoint()

    def state_dict(self) -> dict:
        return {"lowest": self.lowest}

    def load_state_dict(self, state: dict) -> None:
        self.lowest = state["lowest"]


class StepProgressBar(TQDMProgressBar):
    """Counts steps towards max_steps, or says the minutes, instead of batches of an epoch.

    Validations have no bar of their own, only their errors in this one.
    """

    def init_validation_tqdm(self) -> Tqdm:
        return Tqdm(disable=True)

    def on_train_epoch_start(self, trainer: L.Trainer, *args):
        super().on_train_epoch_start(trainer, *args)
        self.train_progress_bar.set_description("Steps")

    def get_metrics(self, trainer: L.Trainer, module: PotentialModule) -> dict:
        metrics, minutes = super().get_metrics(trainer, module), module.options.max_minutes
        numbers = {"minutes": f"{module.seconds / 60:.1f} of {minutes:g}"} if minutes else {}
        if "train_loss" in metrics:
            numbers["loss"] = f"{float(metrics['train_loss']):.3g}"
        for target in predicted_targets(module.potential):
            name = f"val_{column(target, 'mae')}"
            if name in metrics:
                unit = shown_units(target)[0].text
                numbers[f"validation {prefix(target)} MAE"] = f"{float(metrics[name]):.3g} {unit}"
        return numbers

    @property
    def total_train_batches(self) -> int | float:
        steps = self.trainer.max_steps
        return steps if steps > 0 else math.inf


def in_terminal_or_notebook() -> bool:
    """Whether a progress bar can redraw its line, which in a file would be thousands of lines."""
    return sys.stdout.isatty() or "ipykernel" in sys.modules
