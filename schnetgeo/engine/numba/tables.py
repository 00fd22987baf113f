"""Constant tables of filters, with the cutoff function in them, to a measured error."""

import copy
import math
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from schnetgeo.engine.filters import evaluate
from schnetgeo.engine.knots import length_scale
from schnetgeo.engine.program import Program
from schnetgeo.errors import InputError
from schnetgeo.ops import bspline

_MAX_KNOTS = 2**16  # of a table
_SAMPLES = 8  # places per interval where a table is compared with the filter
_INTERVALS = 512  # that are looked at
_FORWARD_MODE = threading.Lock()  # torch.func has one stack of levels for all threads


class FilterTables(NamedTuple):
    """f(r) W(r) on knots from −1 to n + 2, h = cutoff / n apart."""

    coefficients: list[Tensor]  # (n + 4, F) of each filter
    spacing: float  # h, Å
    error: float  # the largest of values and of derivatives, relative to the largest of each


class Filters(NamedTuple):
    """The filters of a model, in float64."""

    program: Program
    parameters: Sequence[Tensor]
    basis: nn.Module
    cutoff_fn: nn.Module
    cutoff: float

    @classmethod
    def of(cls, model: nn.Module, program: Program, parameters: Sequence[Tensor]) -> "Filters":
        """Copies of what a model has."""
        double = [parameter.detach().double() for parameter in parameters]
        basis, cutoff_fn = (
            copy.deepcopy(part).double().requires_grad_(False)
            for part in (model.basis, model.cutoff_fn)
        )
        return cls(program, double, basis, cutoff_fn, float(model.cutoff))

    def __call__(self, r: Tensor) -> list[Tensor]:
        """f(r) W(r) of each filter, (E,) to (E, F)."""
        f = self.cutoff_fn(r).unsqueeze(-1)
        return [f * w for w in evaluate(self.program, self.parameters, self.basis(r))]


def build_tables(filters: Filters, tolerance: float, dtype: torch.dtype) -> FilterTables:
    """Tables that err by at most `tolerance`, as measured between knots.

    Raises:
        InputError: if no table holds the tolerance, in the type of its numbers.
    """
    if not tolerance > 0:
        raise InputError(f"tolerance must be positive, such as 1e-5, got {tolerance}")
    spacing = 0.08 * length_scale(filters.basis, filters.cutoff)
    number, best = min(math.ceil(filters.cutoff / spacing), _MAX_KNOTS), math.inf
    while number <= _MAX_KNOTS:
        tables = [table.to(dtype) for table in _tables(filters, number)]
        error = _error(filters, tables, number)
        if error <= tolerance:
            return FilterTables(tables, filters.cutoff / number, error)
        if not error < 0.9 * best:
            break  # rounding, which finer knots do not mend
        best, number = min(best, error), 2 * number
    raise InputError(
        f"tolerance={tolerance} cannot be held: the best table errs by {min(error, best):.1e} in "
        f"{dtype}; raise it, or tabulate potential.double()"
    )


@torch.no_grad()
def _tables(filters: Filters, number: int) -> list[Tensor]:
    r = torch.arange(-2, number + 4, dtype=torch.float64) * (filters.cutoff / number)
    f = filters.cutoff_fn(r.abs())
    for m in range(number + 2, number + 6):  # smoothly on where the cutoff function ends
        f[m] = _extrapolated(f[m - 6 : m])
    samples = evaluate(filters.program, filters.parameters, filters.basis(r))
    return [bspline.coefficients(f.unsqueeze(-1) * w) for w in samples]


def _extrapolated(values: Tensor) -> Tensor:
    """The next value of the polynomial of fifth degree through six."""
    a, b, c, d, e, f = values
    return 6 * f - 15 * e + 20 * d - 15 * c + 6 * b - a


def _error(filters: Filters, tables: list[Tensor], number: int) -> float:
    spacing, errors = filters.cutoff / number, []
    interval = torch.arange(0, number, max(1, number // _INTERVALS)).repeat_interleave(_SAMPLES)
    t = ((torch.arange(interval.numel()) % _SAMPLES) + 0.5).double() / _SAMPLES
    r = (interval + t) * spacing
    with _FORWARD_MODE:
        exact = torch.func.jvp(_stacked(filters), (r,), (torch.ones_like(r),))
    table = torch.cat([table.double() for table in tables], 1)
    widths = [table.size(1) for table in tables]
    for order, want in enumerate(exact):
        got = bspline.values(table, interval, bspline.weights(t, order)) / spacing**order
        for g, w in zip(got.split(widths, 1), want.split(widths, 1), strict=True):
            errors.append((g - w).abs().max() / w.abs().max().clamp(min=1e-30))
    return float(torch.stack(errors).max()) if errors else 0.0


def _stacked(filters: Filters) -> Callable[[Tensor], Tensor]:
    return lambda r: torch.cat(filters(r), 1)
