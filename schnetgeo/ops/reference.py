"""The spline operators in plain torch: any device, and what the others are tested against.

Every implementation has these functions. With e: j → i, k_e the interval of an edge, w its four
weights and c the table, each writes or, where stated, adds to `out`.
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


def prepare(tensor: Tensor) -> Tensor:
    """What the functions below take for a tensor that many calls share."""
    return tensor.detach()


def ascending(numbers: Int[Tensor, "E"]) -> bool:
    """Whether none is smaller than the one before."""
    return not bool((numbers[1:] < numbers[:-1]).any())


def starts(
    source: Int[Tensor, "E"],
    target: Int[Tensor, "E"],
    reverse: Int[Tensor, "E"],
    shift: Int[Tensor, "E 3"] | None,
    num: int,
) -> Int[Tensor, "N+1"]:
    """First edge of each atom; on the CPU, an `InputError` where edges are not as they must be."""
    if source.device.type == "cpu":
        _check(source, target, reverse, shift, num)
    return torch.searchsorted(target, torch.arange(num + 1, device=target.device))


def measure(
    pos: Float[Tensor, "N 3"],
    source: Int[Tensor, "E"],
    target: Int[Tensor, "E"],
    offset: Float[Tensor, "E 3"] | None,
    vectors: Float[Tensor, "E 3"],
    distance: Float[Tensor, "E"],
) -> None:
    """Vectors = pos_j − pos_i + offset, and their lengths, rounded when both are known."""
    difference = pos.index_select(0, source) - pos.index_select(0, target)
    if offset is not None:
        difference += offset
    vectors.copy_(difference)
    distance.copy_(torch.linalg.vector_norm(difference, dim=1))


def per_edge(
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
    """out_i += slope_e r_e / |r_e|,  out_j −= slope_e r_e / |r_e|."""
    forces = per_edge(slope, vectors, distance)
    out.index_add_(0, target, forces).index_add_(0, source, forces, alpha=-1)


def along(
    y: Float[Tensor, "N 3"],
    vectors: Float[Tensor, "E 3"],
    distance: Float[Tensor, "E"],
    source: Int[Tensor, "E"],
    target: Int[Tensor, "E"],
    out: Float[Tensor, "E"],
) -> None:
    """out_e = ⟨y_i − y_j, r_e⟩ / |r_e|, the adjoint of `add_forces`."""
    difference = y.index_select(0, target) - y.index_select(0, source)
    torch.div((difference * vectors).sum(1), distance.clamp(min=SMALLEST), out=out)


def cosine(
    distance: Float[Tensor, "E"], cutoff: float, f: Float[Tensor, "E"], df: Float[Tensor, "E"]
) -> None:
    """The cosine envelope f = ½ (cos(π r / r_c) + 1) and f′, 0 at and beyond the cutoff r_c."""
    phase, inside = distance * (math.pi / cutoff), distance < cutoff
    torch.mul(0.5 * (torch.cos(phase) + 1), inside, out=f)
    torch.mul(torch.sin(phase) * (-0.5 * math.pi / cutoff), inside, out=df)


def place(
    distance: Float[Tensor, "E"],
    f: Float[Tensor, "E"],
    df: Float[Tensor, "E"],
    grid: bspline.Grid,
    interval: Int[Tensor, "E"],
    weights: Float[Tensor, "E 4"],
    slopes: Float[Tensor, "E 4"],
) -> None:
    """Where edges lie on the knots, weights = f B(t), and slopes = df B(t) + f B′(t) / h."""
    k, t = bspline.places(distance, grid)
    interval.copy_(k)
    values = bspline.weights(t)
    torch.mul(f.unsqueeze(1), values, out=weights)
    torch.mul(f.unsqueeze(1) / grid.spacing, bspline.weights(t, 1), out=slopes)
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


def by_interval(interval: Int[Tensor, "E"], num_knots: int) -> Int[Tensor, "E"]:
    """The intervals as `table` takes them: the others sort the edges, once for all layers."""
    return interval


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


def copy_padded(batch: tuple[Tensor, ...], arrays: tuple[Tensor, ...], cutoff: float) -> None:
    """Write z, atom weights, row pointers, distance, source and target into longer arrays.

    Atoms too many have weight 0 and no neighbors; edges too many lead from the last atom to itself,
    with lengths from 0 to the cutoff, so that no interval gets all of them.
    """
    z, _, _, distance, _, _ = arrays
    edges = batch[3].numel()
    lengths = torch.arange(distance.numel(), device=distance.device) * cutoff / distance.numel()
    for short, long, padding in zip(
        batch, arrays, (0, 0, edges, lengths[edges:], z.numel() - 1, z.numel() - 1), strict=True
    ):
        long[: short.numel()] = short
        long[short.numel() :] = padding


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


def _check(source: Tensor, target: Tensor, reverse: Tensor, shift: Tensor | None, num: int) -> None:
    if not ascending(target):
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
