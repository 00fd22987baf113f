"""Losses: an error of one target with its weight, or a function of prediction and batch."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import huber_loss
from torch_geometric.data import Batch

from schnetgeo.errors import InputError
from schnetgeo.potential.prediction import Prediction

Error = Callable[[Float[Tensor, "M C"]], Float[Tensor, "M"]]
LossFunction = Callable[[Prediction, Batch], Tensor]


def mse(difference: Float[Tensor, "M C"]) -> Float[Tensor, "M"]:
    """|d|², the sum over the components of a vector or tensor."""
    return difference.square().sum(1)


def mae(difference: Float[Tensor, "M C"]) -> Float[Tensor, "M"]:
    """|d_c|, the mean over the components of a vector or tensor."""
    return difference.abs().mean(1)


@dataclass(frozen=True)
class huber:
    """Σ_c h(d_c), h(d) = d² for |d| ≤ δ, else 2δ |d| − δ²: as `mse`, but linear for outliers.

    It is twice `torch.nn.functional.huber_loss`, so that a weight is the same as with `mse`.

    Args:
        delta: δ in the unit of the target.

    Raises:
        InputError: for a delta that is not positive.
    """

    delta: float

    def __post_init__(self):
        _check_number("delta of huber", self.delta, positive=True)

    def __call__(self, difference: Float[Tensor, "M C"]) -> Float[Tensor, "M"]:
        zero = torch.zeros_like(difference)
        return 2 * huber_loss(difference, zero, reduction="none", delta=self.delta).sum(1)


@dataclass(frozen=True)
class Loss:
    """weight · mean error of one target, over the structures that have its label.

    With per="structure" each structure counts the same: for a property of atoms it is
    (1/B) Σ_b (1/n_b) Σ_{i∈b} error(y_i − ŷ_i). With per="atom" each atom counts the same, and a
    property of structures is divided by their number of atoms.

    Args:
        target: name of the prediction and its label, such as "energy", "forces" or "stress".
        error: `mse`, `mae`, `huber(delta)`, or a function of your own: from differences (M, C) of
            M values with C components to (M,).
        weight: factor of this term.
        per: what counts the same, "structure" or "atom".

    Raises:
        InputError: for an argument of another kind.
    """

    target: str
    error: Error = mse
    weight: float = 1.0
    per: Literal["structure", "atom"] = "structure"

    def __post_init__(self):
        if not isinstance(self.target, str) or not self.target.isidentifier():
            raise InputError(f"target of a loss must be a name, got {self.target!r:.60}")
        if not callable(self.error):
            raise InputError(
                f"{self.target}: error must be a function, such as mse, mae or huber(0.05), got "
                f"{self.error!r:.60}"
            )
        _check_number(f"weight of the loss on {self.target}", self.weight)
        if self.per not in ("structure", "atom"):
            raise InputError(
                f"{self.target}: per must be 'structure' or 'atom', got {self.per!r:.60}"
            )

    def __str__(self) -> str:
        """The form that `as_loss` reads."""
        target = self.target if self.per == "structure" else f"{self.target}/atom"
        name = "" if self.error is mse else f":{_name(self.error)}"
        return f"{target}:{_text(self.weight)}{name}"


@dataclass(frozen=True)
class FunctionLoss:
    """weight · a function of prediction and batch, which gives (B,), or its mean over structures.

    The prediction has forces and stress where the structures have such labels.

    Args:
        function: of the prediction and the batch.
        weight: factor of this term.
    """

    function: LossFunction
    weight: float = 1.0

    def __post_init__(self):
        _check_number(f"weight of the loss {_name(self.function)}", self.weight)

    def __str__(self) -> str:
        return f"{_name(self.function)}:{_text(self.weight)}"


def _check_number(what: str, value: object, positive: bool = False) -> None:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf or (positive and value == 0):
        rule = "positive" if positive else "0 or larger"
        raise InputError(f"{what} must be a number, {rule}, got {value!r:.60}")


def _name(function: Callable) -> str:
    """A function as text, the same in every process."""
    if isinstance(function, huber):
        return f"huber={_text(function.delta)}"
    if isinstance(function, functools.partial):
        named = (f"{name}={value!r}" for name, value in function.keywords.items())
        return f"{_name(function.func)}({', '.join([*map(repr, function.args), *named])})"
    if function in (mse, mae):
        return function.__name__
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _text(number: float) -> str:
    """The shortest text that reads back as the same number."""
    return repr(float(number)).removesuffix(".0")
