"""The spline operators in plain torch: any device, and what the others are tested against."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from schnetgeo.ops import bspline
from schnetgeo.ops.edges import Edges


def conv(
    x: Float[Tensor, "N F"],
    table: Float[Tensor, "M F"],
    interval: Int[Tensor, "E"],
    weights: Float[Tensor, "E 4"],
    edges: Edges,
) -> Float[Tensor, "N F"]:
    messages = x.index_select(0, edges.source) * bspline.values(table, interval, weights)
    return torch.zeros_like(x).index_add(0, edges.target, messages)


def conv_tangent(
    x: Float[Tensor, "N F"],
    dx: Float[Tensor, "N F"],
    table: Float[Tensor, "M F"],
    interval: Int[Tensor, "E"],
    weights: Float[Tensor, "E 4"],
    dweights: Float[Tensor, "E 4"],
    edges: Edges,
) -> Float[Tensor, "N F"]:
    moved = conv(dx, table, interval, weights, edges)
    return moved + conv(x, table, interval, dweights, edges)


def dot(
    x: Float[Tensor, "N F"],
    y: Float[Tensor, "N F"],
    table: Float[Tensor, "M F"],
    interval: Int[Tensor, "E"],
    edges: Edges,
) -> Float[Tensor, "E 4"]:
    product = x.index_select(0, edges.source) * y.index_select(0, edges.target)
    rows = [table.index_select(0, interval + q) for q in range(4)]
    return torch.stack([(product * row).sum(-1) for row in rows], dim=-1)


def table(
    x: Float[Tensor, "N F"],
    y: Float[Tensor, "N F"],
    interval: Int[Tensor, "E"],
    weights: Float[Tensor, "E 4"],
    edges: Edges,
    num_knots: int,
) -> Float[Tensor, "M F"]:
    product = x.index_select(0, edges.source) * y.index_select(0, edges.target)
    out = x.new_zeros(num_knots, x.size(1))
    for q in range(4):
        out.index_add_(0, interval + q, product * weights[:, q : q + 1])
    return out


def table_tangent(
    x: Float[Tensor, "N F"],
    y: Float[Tensor, "N F"],
    dx: Float[Tensor, "N F"],
    dy: Float[Tensor, "N F"],
    interval: Int[Tensor, "E"],
    weights: Float[Tensor, "E 4"],
    dweights: Float[Tensor, "E 4"],
    edges: Edges,
    num_knots: int,
) -> Float[Tensor, "M F"]:
    out = table(x, y, interval, weights, edges, num_knots)
    out += table(dx, dy, interval, weights, edges, num_knots)
    return out + table(x, dy, interval, dweights, edges, num_knots)
