"""The step size of a training by step and time."""

from dataclasses import replace

from schnetgeo.errors import InputError
from schnetgeo.notes import note
from schnetgeo.train.configuration import TrainingConfig

_SPENT = 0.01  # of the first step size, below which a longer training changes little


class StepSize:
    """lr · factor, with the factor of "linear", "exponential" or "constant".

    The linear factor is f₀ (1 − p) / (1 − p₀), where p is the progress to the end, the larger of
    steps / max_steps and minutes / max_minutes. At first f₀ = 1 and p₀ = 0; where a training is
    resumed with another end, its line goes on from where it is, without a jump.
    """

    def __init__(self, training: TrainingConfig, start: float = 0.0, height: float = 1.0):
        self.training = training
        self.start, self.height = start, height

    def factor(self, step: int, seconds: float) -> float:
        """What the first step size is multiplied by after `step` steps."""
        training = self.training
        if training.schedule == "exponential":
            return training.decay ** (step / training.decay_steps)
        if training.schedule == "constant":
            return 1.0
        left = max(0.0, 1.0 - progress(self.training, step, seconds))
        return self.height * left / max(1.0 - self.start, left, 1e-12)

    def state(self) -> dict:
        """What a checkpoint keeps."""
        ends = {"max_steps": self.training.max_steps, "max_minutes": self.training.max_minutes}
        return {"start": self.start, "height": self.height, "ends": ends}

    def resume(self, state: dict, step: int, seconds: float) -> None:
        """Go on from the state of a checkpoint; warn where the step size is small, refuse 0."""
        before = replace(self.training, **state["ends"])
        line = StepSize(before, state["start"], state["height"])
        self.start, self.height = line.start, line.height
        if before == replace(self.training, **self.state()["ends"]) or before.schedule != "linear":
            return
        self.start, self.height = progress(self.training, step, seconds), line.factor(step, seconds)
        if self.start >= 1:  # the new end has passed
            return
        if self.height == 0:
            raise InputError(
                f"the linear schedule has brought the step size from {before.lr:g} to 0, so that "
                "more steps change nothing; to train on, start a new training from the model file "
                "(--initial-model)"
            )
        if self.height < _SPENT:
            note(
                f"the linear schedule has brought the step size from {before.lr:g} to "
                f"{before.lr * self.height:.1e}, from which the training goes on: more steps will "
                "change little; to train on, start a new training from the model file "
                "(--initial-model)"
            )


def progress(training: TrainingConfig, step: int, seconds: float) -> float:
    """The part of a training that is done, as the limit that comes first has it."""
    steps, minutes = training.max_steps, training.max_minutes
    return max(step / steps if steps else 0.0, seconds / (60 * minutes) if minutes else 0.0)
