"""What a training can be told."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Literal, get_args, get_type_hints

from schnetgeo.errors import InputError
from schnetgeo.targets import DERIVATIVES, ENERGY, Target
from schnetgeo.train.loss import FunctionLoss, Loss, LossFunction
from schnetgeo.train.loss_text import as_loss
from schnetgeo.train.objective import Objective
from schnetgeo.train.tasks import Task, task_losses

_WHOLE = (
    "batch_size", "decay_steps", "patience", "stop_patience", "validate_every", "checkpoint_every",
    "max_steps", "seed", "threads",
)  # fmt: skip
_POSITIVE = (
    "batch_size", "lr", "decay_steps", "validate_every", "checkpoint_every", "max_steps",
    "max_minutes",
)  # fmt: skip
_NOT_NEGATIVE = ("rho", "clip", "patience", "stop_patience")
_BELOW_ONE = ("decay", "ema_decay")


@dataclass(frozen=True)
class TrainingConfig:
    """How to train.

    Args:
        task: energy, forces or energy_and_forces.
        loss: "mse", the paper's, or "mae" for a task with one kind of label.
        rho: weight of the energy's term in the combined loss.
        losses: instead of task, loss and rho: TARGET[/atom][:WEIGHT[:ERROR]] with an ERROR mse,
            mae, huber=DELTA or a function of yours, as in "energy:0.01 forces:1:huber=0.05
            stress:10"; or PATH[:WEIGHT] of your function of prediction and batch. In Python
            `Loss` objects and functions too.
        batch_size: structures per step, over all processes together.
        lr: step size of Adam.
        schedule: "linear" falls to 0 at the end of max_steps or max_minutes, "plateau" falls
            when the validation loss does not, "exponential" is the paper's, or "constant".
        decay: factor of "exponential" per decay_steps, and of "plateau".
        decay_steps: steps per factor of "exponential".
        patience: validations without improvement before "plateau" reduces the step size.
        stop_patience: validations without improvement before training stops; 0 never.
        ema_decay: decay of the moving average of the weights, which is what is evaluated.
        clip: largest norm of the gradient; 0 does not clip.
        validate_every: steps between validations.
        checkpoint_every: steps between checkpoints.
        max_steps: stop after this many steps.
        max_minutes: stop after this time of training, the time before an interruption included;
            it is counted from the end of the first step, which compiles.
        seed: of the order of batches; on the command line of weights and split too.
        device: "cpu", "cuda", or "auto": cuda where there is one. There is no "mps", whose GPUs
            have no float64 for the energies.
        devices: processes or GPUs per node; "auto" is what torchrun says, else 1.
        precision: of model and forces; energies are summed in float64 either way.
        threads: CPU threads per process; 0 leaves torch's choice.
        progress: show a progress bar, in a terminal or notebook.

    Raises:
        InputError: for a number out of its range, or an unknown word.
    """

    task: Task = "energy_and_forces"
    loss: Literal["mse", "mae"] = "mse"
    rho: float = 0.01
    losses: Sequence[Loss | FunctionLoss | LossFunction | str] = ()
    batch_size: int = 10
    lr: float = 3e-3
    schedule: Literal["linear", "plateau", "exponential", "constant"] = "linear"
    decay: float = 0.96
    decay_steps: int = 100_000
    patience: int = 25
    stop_patience: int = 0
    ema_decay: float = 0.995
    clip: float = 0.0
    validate_every: int = 1000
    checkpoint_every: int = 1000
    max_steps: int | None = None
    max_minutes: float | None = None
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int | Literal["auto"] = "auto"
    precision: Literal["32", "64"] = "32"
    threads: int = 0
    progress: bool = True

    def __post_init__(self):
        if self.max_steps is None and self.max_minutes is None:
            raise InputError("nothing ends the training: give max_steps, max_minutes or both")
        if isinstance(self.precision, Integral):
            object.__setattr__(self, "precision", str(int(self.precision)))
        choices = get_type_hints(type(self))
        for name in ("schedule", "precision", "device"):  # the losses check their own
            if getattr(self, name) not in get_args(choices[name]):
                known = ", ".join(get_args(choices[name]))
                raise InputError(f"unknown {name} {getattr(self, name)!r}; known: {known}")
        for name in dict.fromkeys((*_WHOLE, *_POSITIVE, *_NOT_NEGATIVE, *_BELOW_ONE)):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _number(name, getattr(self, name)))
        self._check_losses()
        if self.devices != "auto":
            object.__setattr__(self, "devices", _whole("devices", self.devices))
            if self.devices < 1:
                raise InputError(f'devices must be at least 1, or "auto", got {self.devices}')
        check_threads(self.threads)

    def _check_losses(self) -> None:
        if isinstance(self.losses, str):
            raise InputError(f"losses must be a list, got {self.losses!r:.60}; put it in brackets")
        object.__setattr__(self, "losses", tuple(map(as_loss, self.losses)))
        task_losses(self.task, self.rho, self.loss)
        preset = ("task", "loss", "rho")
        changed = [name for name in preset if getattr(self, name) != getattr(TrainingConfig, name)]
        if self.losses and changed:
            raise InputError(f"{changed[0]} has no effect beside losses; leave one of them away")

    def objective(self, targets: Sequence[Target] = (ENERGY, *DERIVATIVES)) -> Objective:
        """The loss that is minimized, for a model that predicts these targets."""
        return Objective(self.losses or task_losses(self.task, self.rho, self.loss), targets)

    @property
    def loss_names(self) -> str:
        """The losses as on the command line, or the task that stands for them."""
        return " ".join(map(str, self.losses)) or self.task

    def as_json(self) -> dict:
        """The options as plain values, by name; `losses` where there are any."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        del values["losses"]
        return values | ({"losses": self.loss_names} if self.losses else {})


def _number(name: str, value: object) -> int | float:
    """A plain number in the range of its name; NumPy's become Python's, which can be saved."""
    value = _whole(name, value) if name in _WHOLE else _real(name, value)
    if name in _POSITIVE and not 0 < value < math.inf:
        raise InputError(f"{name} must be positive, got {value}")
    if name == "seed" and not 0 <= value < 2**63:
        raise InputError(f"seed must be a whole number from 0 to 2⁶³ − 1, got {value}")
    if name in _NOT_NEGATIVE and not 0 <= value < math.inf:
        raise InputError(f"{name} must be 0 or larger, got {value}")
    if name in _BELOW_ONE and not 0 <= value < 1:
        raise InputError(f"{name} must lie in 0 … 1, 1 excluded, got {value}")
    return value


def _real(name: str, value: object) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise InputError(f"{name} must be a number, got {value!r:.50}")
    return float(value)


def _whole(name: str, value: object) -> int:
    number = _real(name, value)
    if not number.is_integer():  # nor are inf and nan
        raise InputError(f"{name} must be a whole number, got {value!r:.50}")
    return int(value)


def check_threads(number: int) -> None:
    """Raise `InputError` unless torch may start so many CPU threads; 0 leaves its choice.

    More than a machine can start end the interpreter without a word.
    """
    most = max(256, os.cpu_count() or 1)
    if not 0 <= number <= most:
        raise InputError(f"threads must lie in 0 … {most}, where 0 is torch's choice, got {number}")
