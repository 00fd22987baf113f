"""The spline operators in plain torch: any device, and what the others are tested against.

Every implementation has these functions. With e: j → i, k_e the interval of an edge, w its four
weights and c the table, each writes or, where stated, adds to `out`.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from schnetgeo.ops import bspline
from schnetgeo.ops.edges import Edges


def prepare(tensor: Tensor) -> Tensor:
    """What the functions below take for a tensor that many calls share."""
    return tensor.detach()


def place(
    t: Float[Tensor, "E"],
    f: Float[Tensor, "E"],
    df: Float[Tensor, "E"],
    spacing: float,
    weights: Float[Tensor, "E 4"],
    slopes: Float[Tensor, "E 4"],
) -> None:
    """Weights = f B(t),  slopes = df B(t) + f B′(t) / spacing."""
    values = bspline.weights(t)
    torch.mul(f.unsqueeze(1), values, out=weights)
    torch.mul(f.unsqueeze(1) / spacing, bspline.weights(t, 1), out=slopes)
    slopes.addcmul_(df.unsqueeze(1), values)


def conv(
    x: Float[Tensor, "N F"],
    table: Float[Tensor, "M F"],
    interval: Int[Tensor, "E"],
    weights: Float[Tensor, "E 4"],
    edges: Edges,
    out: Float[Tensor, "N F"],
) -> None:
    """out_i = Σ_{e: j→i} x_j ⊙ Σ_q w_eq c_{k+q}."""
    out.zero_()
    _add_conv(x, table, interval, weights, edges, out)


def conv_tangent(
    x: Float[Tensor, "N F"],
    dx: Float[Tensor, "N F"],
    table: Float[Tensor, "M F"],
    interval: Int[Tensor, "E"],
    weights: Float[Tensor, "E 4"],
    dweights: Float[Tensor, "E 4"],
    edges: Edges,
    out: Float[Tensor, "N F"],
) -> None:
    """The change of `conv` when x changes by dx and the weights by dweights."""
    conv(dx, table, interval, weights, edges, out)
    _add_conv(x, table, interval, dweights, edges, out)


def slope(
    x: Float[Tensor, "N F"],
    y: Float[Tensor, "N F"],
    table: Float[Tensor, "M F"],
    interval: Int[Tensor, "E"],
    slopes: Float[Tensor, "E 4"],
    edges: Edges,
    out: Float[Tensor, "E"],
) -> None:
    """out_e += ⟨x_j ⊙ y_i, Σ_q slopes_eq c_{k+q}⟩."""
    filters = bspline.values(table, interval, slopes)
    out += (x.index_select(0, edges.source) * y.index_select(0, edges.target) * filters).sum(1)


def dot(
    x: Float[Tensor, "N F"],
    y: Float[Tensor, "N F"],
    table: Float[Tensor, "M F"],
    interval: Int[Tensor, "E"],
    edges: Edges,
    out: Float[Tensor, "E 4"],
) -> None:
    """out_eq = ⟨x_j ⊙ y_i, c_{k+q}⟩."""
    product = x.index_select(0, edges.source) * y.index_select(0, edges.target)
    for q in range(4):
        out[:, q] = (product * table.index_select(0, interval + q)).sum(1)


def table(
    x: Float[Tensor, "N F"],
    y: Float[Tensor, "N F"],
    interval: Int[Tensor, "E"],
    weights: Float[Tensor, "E 4"],
    edges: Edges,
    out: Float[Tensor, "M F"],
) -> None:
    """out_m = Σ_{e, q: k+q = m} w_eq x_j ⊙ y_i."""
    out.zero_()
    _add_table(x, y, interval, weights, edges, out)


def table_tangent(
    x: Float[Tensor, "N F"],
    y: Float[Tensor, "N F"],
    dx: Float[Tensor, "N F"],
    dy: Float[Tensor, "N F"],
    interval: Int[Tensor, "E"],
    weights: Float[Tensor, "E 4"],
    dweights: Float[Tensor, "E 4"],
    edges: Edges,
    out: Float[Tensor, "M F"],
) -> None:
    """out_m = Σ w_eq (x_j ⊙ y_i + dx_j ⊙ dy_i) + dw_eq x_j ⊙ dy_i."""
    table(x, y, interval, weights, edges, out)
    _add_table(dx, dy, interval, weights, edges, out)
    _add_table(x, dy, interval, dweights, edges, out)


def softplus(h: Tensor, value: Tensor, first: Tensor, second: Tensor) -> None:
    """ln(½ eʰ + ½) and its derivatives, σ and σ (1 − σ)."""
    torch.sigmoid(h, out=first)
    torch.sub(F.softplus(h, threshold=40), math.log(2), out=value)
    torch.addcmul(first, first, first, value=-1, out=second)


def coefficients(samples: Float[Tensor, "M+2 F"], out: Float[Tensor, "M F"]) -> None:
    """As `bspline.coefficients`."""
    out.copy_(bspline.coefficients(samples))


def coefficients_adjoint(bar: Float[Tensor, "M F"], out: Float[Tensor, "M+2 F"]) -> None:
    """As `bspline.coefficients_adjoint`."""
    out.copy_(bspline.coefficients_adjoint(bar))


def _add_conv(x, table, interval, weights, edges, out):
    messages = x.index_select(0, edges.source) * bspline.values(table, interval, weights)
    out.index_add_(0, edges.target, messages)


def _add_table(x, y, interval, weights, edges, out):
    product = x.index_select(0, edges.source) * y.index_select(0, edges.target)
    for q in range(4):
        out.index_add_(0, interval + q, product * weights[:, q : q + 1])
