"""What all checks share: tolerances, remedies, the report, and how checks are run."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from schnetgeo.errors import InputError

EXACT = 1e-8  # relative: equal but for rounding
SLOPE = 1e-5  # relative: equal but for the error of central differences
ROUNDING = 1e-9  # of the energy or output: what a force or slope of zero may come to
STEP = 1e-5  # of central differences, Å
SMALL = 1e-6  # a weight, or a distance in Å, as good as zero

ADVICE_SUM = (
    "Return the message of one edge from `message`, let RadialConv weight and sum it, and override "
    "neither `aggregate` nor `propagate`: a layer must not count or normalize over neighbors"
)
ADVICE_VECTORS = "Use positions through edge_vectors and distances of schnetgeo.geometry alone"
ADVICE_ALONE = (
    "Mix atoms only along edges and sum them by `batch`; normalize nothing over the batch"
)
ADVICE_SAME = "Draw no random numbers in forward, and keep nothing from one call for the next"
ADVICE_STEADY = "Leave out dropout, batch normalization and random activations"
ADVICE_FAST = (
    'Lower `spacing` of the potential, or build it with filters="exact"; write what you changed as '
    "a class of its own, instead of replacing functions on instances"
)
ADVICE_DERIVED = "Remove detach, .data and no_grad from the model; leave derivatives to Potential"


class CheckFailed(AssertionError):
    """A layer or model violates a statement; the message says which, by how much, and a remedy."""


class Passed(str):
    """What a check that passed has to say."""


class Result(NamedTuple):
    """One check: its name, "passed" or "skipped", and the reason for skipping, or a note."""

    name: str
    status: str
    note: str


class Report(NamedTuple):
    """All checks of one layer or model; as a string, a line for each."""

    subject: str
    results: tuple[Result, ...]

    def __str__(self) -> str:
        width = max(len(result.name) for result in self.results)
        lines = [f"  {r.status}  {r.name:{width}}  {r.note}".rstrip() for r in self.results]
        return "\n".join([self.subject, *lines])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw the same numbers each time, with gradients, and leave torch's state as it was."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.default_generator.manual_seed(seed)
        yield


def assert_close(
    actual: Tensor, expected: Tensor, violation: str, tolerance=EXACT, floor=0.0
) -> None:
    """Raise unless |actual − expected| ≤ tolerance · |expected| + floor in the maximum norm."""
    difference = max_abs(actual - expected)
    if not difference <= tolerance * max_abs(expected) + floor:  # NaN is no agreement
        raise CheckFailed(f"{violation} by {difference:.2g}")


def expect_tensor(what: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    bad = int((~tensor.isfinite()).sum())
    if bad or tensor.shape != shape or tensor.dtype != dtype:
        actual = f"shape {tuple(tensor.shape)} and type {tensor.dtype}, {bad} values not finite"
        raise CheckFailed(f"{what} must have shape {shape} and type {dtype}, but has {actual}")


def max_abs(tensor: Tensor) -> float:
    return float(tensor.detach().abs().max())


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def central_difference(function: Callable[[float], Tensor]) -> Tensor:
    return (function(STEP) - function(-STEP)) / (2 * STEP)


def check(remedy: str) -> Callable:
    """Mark a method as a check: it raises, or returns nothing, `Passed`, or why it is skipped."""

    def mark(method: Callable) -> Callable:
        method.remedy = remedy
        return method

    return mark


class Checks:
    """A copy of a layer or potential in float64, to be evaluated, and the checks as methods."""

    def __init__(self, module: nn.Module):
        self.module = copy.deepcopy(module).cpu().double().eval()
        for parameter in self.module.parameters():
            if not bool(parameter.detach().any()):  # zeros would hide what it does
                parameter.data.normal_(std=0.1)

    def run(self, subject: str) -> Report:
        results = []
        for method in self._methods():
            name, remedy = method.__name__.replace("_", " "), method.remedy
            try:
                note = method(self)
            except CheckFailed as error:
                raise CheckFailed(f"{subject}: {error}. {remedy}.") from error.__cause__
            except InputError as error:  # which says what to do
                raise CheckFailed(f"{subject}: {name}: {error}") from error
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                raise CheckFailed(f"{subject}: cannot check {name}: {what}") from error
            skipped = note is not None and not isinstance(note, Passed)
            results.append(Result(name, "skipped" if skipped else "passed", note or ""))
        return Report(subject, tuple(results))

    def _methods(self) -> list[Callable]:
        """Those that are checks, of the bases first."""
        functions = [f for cls in reversed(type(self).__mro__) for f in vars(cls).values()]
        return [f for f in functions if hasattr(f, "remedy")]
