"""Uniform cubic B-splines: coefficients from samples, weights from places."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Grid(NamedTuple):
    """Knots m h from m = first on, and the coefficients around them."""

    first: int
    count: int  # of coefficients, which begin one knot earlier
    spacing: float  # h, Å
    cutoff: float  # Å, of edges


def places(distance: Float[Tensor, "E"], grid: Grid) -> tuple[Int[Tensor, "E"], Tensor]:
    """The row k of an edge's first coefficient, and t (E,), its place in the interval, 0 … 1."""
    # an edge at or beyond the cutoff has envelope 0: any place will do
    r = torch.where(distance < grid.cutoff, distance, grid.first * grid.spacing)
    u = r * (1 / grid.spacing) - grid.first
    interval = u.detach().long().clamp_(0, grid.count - 4)
    return interval, u - interval


def coefficients(samples: Float[Tensor, "M+2 F"]) -> Float[Tensor, "M F"]:
    """c_m = (−W_{m−1} + 8 W_m − W_{m+1}) / 6: exact for cubics, local, linear in the samples."""
    return samples[1:-1] * (8 / 6) - (samples[:-2] + samples[2:]) / 6


def weights(t: Float[Tensor, "E"], order: int = 0) -> Float[Tensor, "E 4"]:
    """B_q^(p)(t), the p-th derivative of the four B-splines that are not 0 in an interval.

    W^(p)(u) = Σ_q B_q^(p)(t) c_{k+q} for u = k + t, if c_k belongs to the knot at k − 1.

    Args:
        t: place within the interval.
        order: p, 0 to 2; a third derivative would jump from knot to knot.
    """
    s = 1 - t
    if order == 0:
        first, last = s * s * s, t * t * t
        columns = (first, 4 - 6 * t * t + 3 * last, 4 - 6 * s * s + 3 * first, last)
        return torch.stack(columns, dim=-1) / 6
    if order == 1:
        first, last = s * s, t * t
        columns = (-first, 3 * last - 4 * t, 4 * s - 3 * first, last)
        return torch.stack(columns, dim=-1) / 2
    if order == 2:
        return torch.stack((s, 3 * t - 2, 1 - 3 * t, t), dim=-1)
    raise ValueError(f"a cubic spline has smooth derivatives of order 0 to 2, got {order}")


def values(
    table: Float[Tensor, "M F"], interval: Int[Tensor, "E"], weights: Float[Tensor, "E 4"]
) -> Float[Tensor, "E F"]:
    """Σ_q w_q c_{k+q}, the spline at each place."""
    rows = [table.index_select(0, interval + q) * weights[:, q : q + 1] for q in range(4)]
    return rows[0] + rows[1] + rows[2] + rows[3]


def coefficients_adjoint(c_bar: Float[Tensor, "M F"]) -> Float[Tensor, "M+2 F"]:
    """The gradient for the samples from that for the coefficients."""
    out = c_bar.new_zeros(c_bar.size(0) + 2, c_bar.size(1))
    out[1:-1] = c_bar * (8 / 6)
    out[:-2] -= c_bar / 6
    out[2:] -= c_bar / 6
    return out
