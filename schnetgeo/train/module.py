"""The training step, its schedule and its moving average, for Lightning's Trainer."""

import copy
import inspect
import math
import os
import time
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch_geometric.data import Batch

from schnetgeo.data.loader import ordered_loader, train_loader
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.structure import mask_name
from schnetgeo.errors import InputError
from schnetgeo.potential.potential import Potential
from schnetgeo.targets import Target
from schnetgeo.train.configuration import TrainingConfig
from schnetgeo.train.interrupt import Interrupt, Interrupted
from schnetgeo.train.objective import predict_labels, predicted_targets
from schnetgeo.train.resume import CHECKPOINT_KEY, check_states
from schnetgeo.train.schedule import StepSize
from schnetgeo.train.shown_units import column, shown_units
from schnetgeo.train.sums import Sum, add_sums

LOG_EVERY = 50  # steps


class PotentialModule(L.LightningModule):
    """Fits a potential; validates and keeps the moving average of its weights.

    The raw weights and their average are stored apart, so that a resumed training starts from
    the raw ones. Edges are built here, once.

    Args:
        potential: what to train, with references and scale already fitted.
        train: structures to train on.
        val: structures that choose the best weights; may be empty.
        training: how.
        checkpoint: file that is replaced by a newer state every so often, whole or not at all.
        settings: what a training must share to go on from it, see `resume.run_identity`.
        interrupt: asked to stop by Ctrl-C.
    """

    def __init__(
        self,
        potential: Potential,
        train: StructureDataset,
        val: StructureDataset,
        training: TrainingConfig,
        checkpoint: Path,
        settings: dict,
        interrupt: Interrupt | None = None,
    ):
        super().__init__()
        self.automatic_optimization = False  # which takes hundredths of a step
        cutoff = potential.model.cutoff
        self._train = train if cutoff is None else train.with_edges(cutoff)
        self._val = val if cutoff is None or not len(val) else val.with_edges(cutoff)
        if cutoff is not None and potential.trained_on is not None:
            potential.trained_on.look_at_distances(self._train, cutoff)
        self.potential = potential
        self.average = copy.deepcopy(potential).requires_grad_(False)
        self.options = training
        self.objective = training.objective(predicted_targets(potential))
        self.checkpoint, self.settings = checkpoint, settings
        self.interrupt = interrupt or Interrupt()
        self.step_size = StepSize(training)
        self.seconds = 0.0  # of training
        self.compile_seconds = 0.0  # of the first step, in every process that trained
        self.diverged = False
        self.stopped_early = False
        self._asked = False
        self._finished_step = 0
        self.saved_step = 0  # that the checkpoint holds
        self._val_sums: list[list[Sum]] = []  # of each batch
        self._random: list[Tensor] = []  # states of the generators of random numbers, of CPU, GPUs
        self._begun = math.nan  # when the training began in this process
        self._started: float | None = None  # when its first step ended, less the seconds before
        self._weights: tuple[list[Tensor], list[Tensor]] = ([], [])
        self._optimizer: LightningOptimizer | None = None

    def __setattr__(self, name: str, value):
        # Lightning notes its hook dozens of times a step, where Module would look for parameters
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def configure_optimizers(self):
        options = self.options
        optimizer = torch.optim.Adam(self.potential.parameters(), lr=options.lr, fused=True)
        if options.schedule != "plateau":  # a function of the step, see on_train_batch_end
            return optimizer
        plateau = ReduceLROnPlateau(optimizer, factor=options.decay, patience=options.patience)
        return [optimizer], [{"scheduler": plateau, "interval": "step"}]

    def train_dataloader(self):
        return train_loader(
            self._placed(self._train),
            self.options.batch_size,
            seed=self.options.seed,
            first=self.trainer.global_step,
            rank=self.trainer.global_rank,
            num_processes=self.trainer.world_size,
        )

    def val_dataloader(self):
        # every process validates on everything, so that all decide alike
        return ordered_loader(self._placed(self._val), 100)

    def _placed(self, dataset: StructureDataset) -> StructureDataset:
        """On the device of the training, unless it is kept on disk because it is large."""
        return dataset.to(self.trainer.strategy.root_device) if dataset.in_memory else dataset

    def on_train_start(self):
        # listed once: walking the modules takes longer than the average itself
        self._weights = list(self.potential.parameters()), list(self.average.parameters())
        self._optimizer = self.optimizers()
        self._begun = time.monotonic()
        self._finished_step = self.global_step
        check_states(self.trainer.callbacks)
        _set_random_states(self._random)
        self.interrupt.listen()
        if self.trainer.is_global_zero:
            for logger in self.loggers:
                logger.log_hyperparams(self.settings | self.step_size.state()["ends"])
        if self.stopped_early:  # and resumed
            self.trainer.should_stop = True

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        # the only hook between two steps: here alone all of Lightning's counters agree
        if self.trainer.training and self.global_step % self.options.checkpoint_every == 0:
            self.save_checkpoint()
        if self.trainer.training and self._asked:
            self.save_checkpoint()
            raise Interrupted
        return batch

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, index: int) -> Batch:
        return batch if batch.z.device == device else batch.to(device)

    def on_train_end(self):
        self.diverged = self.diverged or not self._finite()
        ended = self.diverged or self.out_of_time or self.global_step == self.options.max_steps
        self.stopped_early = self.trainer.should_stop and not ended
        self.save_checkpoint()
        self.interrupt.leave()

    def training_step(self, batch: Batch, index: int) -> dict[str, Tensor]:
        self._optimizer.zero_grad()
        sums = self.objective.sums(self.objective.predict(self.potential, batch), batch)
        loss = self.objective.mean(self._shared(sums))
        self.manual_backward(loss)
        self._optimizer.step()
        return {"loss": loss}

    training_step.__signature__ = inspect.signature(training_step)  # looked up in every step

    def _shared(self, sums: list[Sum]) -> list[Sum]:
        """With the mean count of all processes, over which gradients and losses are averaged."""
        if self.trainer.world_size == 1:
            return sums
        reduce = self.trainer.strategy.reduce
        return [
            Sum(
                total, reduce(count.double(), reduce_op="mean") if torch.is_tensor(count) else count
            )
            for total, count in sums
        ]

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer):
        if self.options.clip:
            torch.nn.utils.clip_grad_norm_(self._weights[0], self.options.clip)

    def on_train_batch_end(self, outputs, batch: Batch, index: int):
        self.finish_step()
        step = self.global_step
        if step % LOG_EVERY == 0:
            loss = self.trainer.strategy.reduce(outputs["loss"], reduce_op="mean")
            self.diverged = not loss.isfinite().item()
            self.log("train_loss", loss, prog_bar=True, logger=False)
            self._record({"train_loss": loss, "lr": self._optimizer.param_groups[0]["lr"]})
        if self.out_of_time or self.diverged:
            self.trainer.should_stop = True

    def finish_step(self) -> None:
        """Average the weights, read the clock and set the next step size, once for each step."""
        step = self.global_step
        if step == self._finished_step:
            return
        self._finished_step = step
        self._update_average(step)
        self._read_clock()
        if self.options.schedule != "plateau":
            for group in self._optimizer.param_groups:
                group["lr"] = self.options.lr * self.step_size.factor(step, self.seconds)

    def on_validation_start(self):
        self.copy_buffers()
        self._val_sums = []

    @torch.no_grad()
    def copy_buffers(self) -> None:
        """Give the average the running statistics of the trained modules, averages themselves."""
        pairs = zip(self.average.model.buffers(), self.potential.model.buffers(), strict=True)
        for ours, theirs in pairs:
            ours.copy_(theirs)

    def validation_step(self, batch: Batch, index: int):
        potential = self.average.eval()
        prediction = predict_labels(potential, batch)
        self._val_sums.append(self.objective.sums(prediction, batch))
        values = dict(prediction.items())
        for target in predicted_targets(potential):
            if target.name in values and batch.get(target.name) is not None:
                self._log_error(target, values[target.name], batch)

    def on_validation_epoch_end(self):
        # over all structures with the label: how many of them a batch has is an accident
        self._log("val_loss", self.objective.mean(add_sums(self._val_sums)), 1)

    def _log(self, name: str, value: Tensor, weight: int) -> None:
        self.log(name, value, batch_size=weight, prog_bar=True, logger=False)

    def _log_error(self, target: Target, value: Tensor, batch: Batch) -> None:
        """The mean absolute error of those labels that are there, in the unit people read."""
        mask = batch.get(mask_name(target.name))
        error = value - batch[target.name].to(value)
        if mask is not None:
            error = error[mask[batch.batch] if target.per == "atom" else mask]
        if len(error):
            mean = error.abs().mean() * shown_units(target)[0].factor
            self._log(f"val_{column(target, 'mae')}", mean, len(error))

    def on_validation_end(self):
        metrics, step = self.trainer.callback_metrics, self.global_step
        due = step and not step % self.options.validate_every  # not where time has run out
        if due and self.options.schedule == "plateau":
            self.lr_schedulers().step(metrics["val_loss"])
        self._record({name: v for name, v in metrics.items() if name.startswith("val_")})

    def _record(self, values: dict[str, Tensor | float]):
        """Write to the loggers under the number of the step; Lightning's own is off on resuming."""
        for logger in self.loggers:
            logger.log_metrics({k: float(v) for k, v in values.items()}, step=self.global_step)

    def _read_clock(self):
        """Count seconds from the end of the first step, which compiles what is not compiled yet."""
        time_now = time.monotonic()
        if self._started is None:
            self._started = time_now - self.seconds
            self.compile_seconds += time_now - self._begun
        # one clock for all processes, which must fall in step size and stop together
        state = time_now - self._started, self.interrupt.asked
        self.seconds, self._asked = self.trainer.strategy.broadcast(state)

    @property
    def validates(self) -> bool:
        """Whether this step ends with a validation."""
        return len(self._val) > 0 and self.global_step % self.options.validate_every == 0

    @property
    def out_of_time(self) -> bool:
        """Whether max_minutes have passed, those before an interruption included."""
        minutes = self.options.max_minutes
        return minutes is not None and self.seconds >= 60 * minutes

    @torch.no_grad()
    def _update_average(self, step: int):
        """ā ← d ā + (1 − d) w with d = min(ema_decay, (1 + step) / (10 + step))."""
        weights, average = self._weights
        decay = min(self.options.ema_decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(average, weights, 1 - decay)

    def save_checkpoint(self):
        """Replace the checkpoint, unless it holds this step, or the training has diverged."""
        if self.global_step in (0, self.saved_step) or not self._finite():
            return
        if not self.saved_step:
            check_states(self.trainer.callbacks)
        self.copy_buffers()
        part = self.checkpoint.with_suffix(".part")
        try:
            self.trainer.save_checkpoint(part)
            if self.trainer.is_global_zero:
                os.replace(part, self.checkpoint)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise InputError(
                f"{self.checkpoint}: cannot be written: {error.strerror}; the checkpoint before "
                "it is kept"
            ) from None
        self.saved_step = self.global_step

    def _finite(self) -> bool:
        return all(bool(weight.isfinite().all()) for weight in self._weights[0])

    def on_save_checkpoint(self, checkpoint: dict):
        checkpoint["seconds"], checkpoint[CHECKPOINT_KEY] = self.seconds, self.settings
        checkpoint["compile_seconds"] = self.compile_seconds
        checkpoint["step_size"] = self.step_size.state()
        checkpoint["stopped_early"] = self.stopped_early
        checkpoint["random"] = _random_states()

    def on_load_checkpoint(self, checkpoint: dict):
        self.seconds = checkpoint["seconds"]
        self.compile_seconds = checkpoint["compile_seconds"]
        self.stopped_early = checkpoint["stopped_early"]
        self.saved_step, self._random = checkpoint["global_step"], checkpoint["random"]
        self.step_size.resume(checkpoint["step_size"], self.saved_step, self.seconds)

    @classmethod
    def load_from_checkpoint(cls, path: str | os.PathLike, *args, **kwargs):
        """Refuse: a checkpoint goes on as a training; the model is in the file beside it."""
        raise InputError(
            f"{path}: a checkpoint, from which fit(…, resume=True) goes on; the trained model is "
            "in model.safetensors beside it: schnetgeo.load('model.safetensors')"
        )


def _random_states() -> list[Tensor]:
    """States of the generators of random numbers, such as dropout's: of the CPU, then the GPUs."""
    return [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]


def _set_random_states(states: list[Tensor]) -> None:
    """Go on from these states, as far as there are such GPUs; from nothing, change nothing."""
    for number, state in enumerate(states):
        if number == 0:
            torch.set_rng_state(state.cpu())
        elif number <= torch.cuda.device_count():
            torch.cuda.set_rng_state(state.cpu(), number - 1)
