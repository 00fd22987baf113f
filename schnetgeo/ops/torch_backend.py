"""The spline operators in plain torch: any device, and what the others are tested against.

`protocol.Backend` says what each function computes.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from schnetgeo.errors import InputError
from schnetgeo.ops import bspline
from schnetgeo.ops.edges import Edges

SMALLEST = 1e-10  # Å, by which a vector of length 0 is divided


def as_array(tensor: Tensor) -> Tensor:
    return tensor.detach()


def is_sorted(numbers: Int[Tensor, "E"]) -> bool:
    return not bool((numbers[1:] < numbers[:-1]).any())


def row_pointers(
    source: Int[Tensor, "E"],
    target: Int[Tensor, "E"],
    reverse: Int[Tensor, "E"],
    shift: Int[Tensor, "E 3"] | None,
    num: int,
) -> Int[Tensor, "N+1"]:
    if source.device.type == "cpu":
        _check(source, target, reverse, shift, num)
    else:
        _assert_sorted(target)
    return torch.searchsorted(target, torch.arange(num + 1, device=target.device))


def _assert_sorted(numbers: Int[Tensor, "E"]) -> None:
    """Fail unless the numbers ascend: on a GPU when it gets there, without being waited for."""
    message = "edge_index[1], the targets, must not decrease; sort edges by target"
    torch._assert_async((numbers[1:] >= numbers[:-1]).all(), message)


def edge_lengths(
    pos: Float[Tensor, "N 3"],
    source: Int[Tensor, "E"],
    target: Int[Tensor, "E"],
    offset: Float[Tensor, "E 3"] | None,
    vectors: Float[Tensor, "E 3"],
    distance: Float[Tensor, "E"],
) -> None:
    difference = pos.index_select(0, source) - pos.index_select(0, target)
    if offset is not None:
        difference += offset
    vectors.copy_(difference)
    distance.copy_(torch.linalg.vector_norm(difference, dim=1))


def _edge_vectors(
    slope: Float[Tensor, "E"], vectors: Float[Tensor, "E 3"], distance: Float[Tensor, "E"]
) -> Float[Tensor, "E 3"]:
    """slope_e r_e / |r_e|."""
    return (slope / distance.clamp(min=SMALLEST)).unsqueeze(1) * vectors


def add_forces(
    slope: Float[Tensor, "E"],
    vectors: Float[Tensor, "E 3"],
    distance: Float[Tensor, "E"],
    source: Int[Tensor, "E"],
    target: Int[Tensor, "E"],
    out: Float[Tensor, "N 3"],
) -> None:
    forces = _edge_vectors(slope, vectors, distance)
    out.index_add_(0, target, forces).index_add_(0, source, forces, alpha=-1)


def add_forces_vjp(
    y: Float[Tensor, "N 3"],
    vectors: Float[Tensor, "E 3"],
    distance: Float[Tensor, "E"],
    source: Int[Tensor, "E"],
    target: Int[Tensor, "E"],
    out: Float[Tensor, "E"],
) -> None:
    difference = y.index_select(0, target) - y.index_select(0, source)
    torch.div((difference * vectors).sum(1), distance.clamp(min=SMALLEST), out=out)


def cosine_cutoff(
    distance: Float[Tensor, "E"], cutoff: float, f: Float[Tensor, "E"], df: Float[Tensor, "E"]
) -> None:
    phase, inside = distance * (math.pi / cutoff), distance < cutoff
    torch.mul(0.5 * (torch.cos(phase) + 1), inside, out=f)
    torch.mul(torch.sin(phase) * (-0.5 * math.pi / cutoff), inside, out=df)


def knot_weights(
    distance: Float[Tensor, "E"],
    f: Float[Tensor, "E"],
    df: Float[Tensor, "E"],
    grid: bspline.Grid,
    interval: Int[Tensor, "E"],
    weights: Float[Tensor, "E 4"],
    slopes: Float[Tensor, "E 4"],
) -> None:
    k, t = bspline.places(distance, grid)
    interval.copy_(k)
    values = bspline.weights(t)
    torch.mul(f.unsqueeze(1), values, out=weights)
    torch.mul(f.unsqueeze(1) / grid.spacing, bspline.weights(t, 1), out=slopes)
    slopes.addcmul_(df.unsqueeze(1), values)


def spline_conv(
    x: Float[Tensor, "N F"],
    table: Float[Tensor, "M F"],
    interval: Int[Tensor, "E"],
    weights: Float[Tensor, "E 4"],
    edges: Edges,
    out: Float[Tensor, "N F"],
) -> None:
    out.zero_()
    _add_spline_conv(x, table, interval, weights, edges, out)


def spline_conv_tangent(
    x: Float[Tensor, "N F"],
    dx: Float[Tensor, "N F"],
    table: Float[Tensor, "M F"],
    interval: Int[Tensor, "E"],
    weights: Float[Tensor, "E 4"],
    dweights: Float[Tensor, "E 4"],
    edges: Edges,
    out: Float[Tensor, "N F"],
) -> None:
    spline_conv(dx, table, interval, weights, edges, out)
    _add_spline_conv(x, table, interval, dweights, edges, out)


def edge_gradient(
    x: Float[Tensor, "N F"],
    y: Float[Tensor, "N F"],
    table: Float[Tensor, "M F"],
    interval: Int[Tensor, "E"],
    slopes: Float[Tensor, "E 4"],
    edges: Edges,
    out: Float[Tensor, "E"],
) -> None:
    filters = bspline.values(table, interval, slopes)
    out += (x.index_select(0, edges.source) * y.index_select(0, edges.target) * filters).sum(1)


def spline_conv_grad_weights(
    x: Float[Tensor, "N F"],
    y: Float[Tensor, "N F"],
    table: Float[Tensor, "M F"],
    interval: Int[Tensor, "E"],
    edges: Edges,
    out: Float[Tensor, "E 4"],
) -> None:
    product = x.index_select(0, edges.source) * y.index_select(0, edges.target)
    for q in range(4):
        out[:, q] = (product * table.index_select(0, interval + q)).sum(1)


def sort_by_interval(interval: Int[Tensor, "E"], num_knots: int) -> Int[Tensor, "E"]:
    return interval


def spline_conv_grad_table(
    x: Float[Tensor, "N F"],
    y: Float[Tensor, "N F"],
    sorted_edges: Int[Tensor, "E"],
    weights: Float[Tensor, "E 4"],
    edges: Edges,
    out: Float[Tensor, "M F"],
) -> None:
    out.zero_()
    _add_spline_conv_grad_table(x, y, sorted_edges, weights, edges, out)


def spline_conv_grad_table_tangent(
    x: Float[Tensor, "N F"],
    y: Float[Tensor, "N F"],
    dx: Float[Tensor, "N F"],
    dy: Float[Tensor, "N F"],
    sorted_edges: Int[Tensor, "E"],
    weights: Float[Tensor, "E 4"],
    dweights: Float[Tensor, "E 4"],
    edges: Edges,
    out: Float[Tensor, "M F"],
) -> None:
    spline_conv_grad_table(x, y, sorted_edges, weights, edges, out)
    _add_spline_conv_grad_table(dx, dy, sorted_edges, weights, edges, out)
    _add_spline_conv_grad_table(x, dy, sorted_edges, dweights, edges, out)


def copy_padded(batch: tuple[Tensor, ...], arrays: tuple[Tensor, ...], cutoff: float) -> None:
    z, _, _, distance, _, _ = arrays
    edges = batch[3].numel()
    lengths = torch.arange(distance.numel(), device=distance.device) * cutoff / distance.numel()
    for short, long, padding in zip(
        batch, arrays, (0, 0, edges, lengths[edges:], z.numel() - 1, z.numel() - 1), strict=True
    ):
        long[: short.numel()] = short
        long[short.numel() :] = padding


def shifted_softplus(h: Tensor, value: Tensor, first: Tensor, second: Tensor) -> None:
    torch.sigmoid(h, out=first)
    torch.sub(F.softplus(h, threshold=40), math.log(2), out=value)
    torch.addcmul(first, first, first, value=-1, out=second)


def spline_coefficients(samples: Float[Tensor, "M+2 F"], out: Float[Tensor, "M F"]) -> None:
    out.copy_(bspline.coefficients(samples))


def spline_coefficients_transpose(bar: Float[Tensor, "M F"], out: Float[Tensor, "M+2 F"]) -> None:
    out.copy_(bspline.coefficients_adjoint(bar))


def _add_spline_conv(x, table, interval, weights, edges, out):
    messages = x.index_select(0, edges.source) * bspline.values(table, interval, weights)
    out.index_add_(0, edges.target, messages)


def _add_spline_conv_grad_table(x, y, interval, weights, edges, out):
    product = x.index_select(0, edges.source) * y.index_select(0, edges.target)
    for q in range(4):
        out.index_add_(0, interval + q, product * weights[:, q : q + 1])


def _check(source: Tensor, target: Tensor, reverse: Tensor, shift: Tensor | None, num: int) -> None:
    if not is_sorted(target):
        raise InputError(
            "edge_index[1], the targets, must not decrease; sort the edges by target, or take "
            "filters='exact'"
        )
    if target.numel() and not 0 <= int(target[0]) <= int(target[-1]) < num:
        raise InputError(
            f"edge_index must lie in 0 … {num - 1}, got targets {int(target[0])} … "
            f"{int(target[-1])}"
        )
    if not _symmetric(source, target, reverse, shift):
        raise InputError(
            "edge_reverse must point from each edge j → i to the edge i → j; give every edge its "
            "reverse, or take filters='exact'"
        )


def _symmetric(source: Tensor, target: Tensor, reverse: Tensor, shift: Tensor | None) -> bool:
    if reverse.numel() != source.numel():
        return False
    if reverse.numel() and not 0 <= int(reverse.min()) <= int(reverse.max()) < reverse.numel():
        return False
    there = torch.equal(source.index_select(0, reverse), target)
    back = torch.equal(target.index_select(0, reverse), source)
    return there and back and (shift is None or torch.equal(shift.index_select(0, reverse), -shift))
