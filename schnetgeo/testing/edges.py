"""Checks of a model: edges, and the fast path."""

import copy

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from schnetgeo.data import with_edges
from schnetgeo.engine.lowering.lower import Refusal
from schnetgeo.potential import Potential
from schnetgeo.testing.checks import (
    ADVICE_FAST,
    EXACT,
    CheckFailed,
    Passed,
    check,
    max_abs,
)
from schnetgeo.testing.structures import shuffled
from schnetgeo.testing.subject import PotentialSubject

_BEYOND = 1.0  # Å beyond the cutoff that edges reach, as a neighbor list with a skin does
_EDGELESS = "the model has no cutoff, hence no edges"


class EdgeChecks(PotentialSubject):
    @check("Sum over edges and do not use their index")
    def order_of_edges(self) -> str | None:
        if self.cutoff is None:
            return _EDGELESS
        batch = self.connected()
        for reverse in (True, False):
            actual = self.module(shuffled(batch, reverse), stress=self.has_energy)
            change = "listing the same edges in another order"
            change += "" if reverse else ", without edge_reverse,"
            self.assert_close(actual, self.prediction, change)
        return None

    @check("Multiply it by (distance < cutoff), as CosineCutoff does")
    def cutoff_function_beyond_the_cutoff(self) -> str | None:
        cutoff_fn = getattr(self.model, "cutoff_fn", None)
        if self.cutoff is None or not isinstance(cutoff_fn, nn.Module):
            return "the model has no cutoff function"
        distance = self.cutoff * torch.linspace(1.0, 2.0, 101, dtype=torch.float64)
        value = max_abs(cutoff_fn(distance))
        if value != 0:
            where = f"beyond the cutoff of {self.cutoff} Å"
            raise CheckFailed(f"the cutoff function is {value:.2g} {where}")
        return None

    @check("Begin `forward` with data = with_edges(data, self.cutoff), which leaves them out")
    def edges_beyond_the_cutoff(self) -> str | None:
        """Potential and Calculator leave them out; a model that is called alone counts them."""
        if self.cutoff is None:
            return _EDGELESS
        batch = Batch.from_data_list(self.structures)
        longer = with_edges(batch, self.cutoff + _BEYOND)
        actual = self.module(longer, stress=self.has_energy)
        self.assert_close(
            actual, self.prediction, f"adding edges up to {_BEYOND} Å beyond the cutoff"
        )
        results = [_numbers(self.model(data)) for data in (longer, self.connected())]
        change = max_abs(results[0] - results[1])
        if change <= EXACT * max_abs(results[1]) + self.floor:
            return None
        return Passed(
            f"called alone it counts edges beyond the cutoff, which change its output by "
            f"{change:.2g}; Potential and Calculator leave them out"
        )

    @check(ADVICE_FAST)
    def fast_path(self) -> str | None:
        """What stands for the modules gives what they give, but for the error of the knots."""
        slow = why_slow(self.module)
        if slow:
            return Passed(f"slow and right: {slow}")
        exact = copy.deepcopy(self.module)
        exact.filters = "exact"
        expected = exact(Batch.from_data_list(self.structures), stress=self.has_energy)
        change = "filters on knots instead of edges"
        self.assert_close(self.prediction, expected, change, 1e-3)
        return None


def _numbers(results: Tensor | tuple[Tensor, ...]) -> Tensor:
    """All numbers that a model returns."""
    parts = results if isinstance(results, tuple) else (results,)
    return torch.cat([part.reshape(-1) for part in parts])


def why_slow(potential: Potential) -> str | None:
    """Why autograd runs a model; `None` where the engine does.

    Nothing is wrong then, but training takes three to five times as long.
    """
    if potential.filters != "spline":
        return f"filters={potential.filters!r}"
    reading = potential.engine.read(potential.model, potential.has_energy)
    return reading.reason if isinstance(reading, Refusal) else None
