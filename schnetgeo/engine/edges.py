"""The edges of a batch as executors take them: what each knot counts for in an edge's filter."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo import ops
from schnetgeo.data.edges import reverse_edges
from schnetgeo.engine.knots import Knots
from schnetgeo.nn.cutoff import CosineCutoff
from schnetgeo.ops import bspline

_COSINE = CosineCutoff.forward  # whose derivative the kernels know


class KnotWeights(NamedTuple):
    """f(r_e) W(r_e) = Σ_q w_eq c_{k_e + q} for the edges e: j → i, with w_eq = f(r_e) B_q(t_e)."""

    coefficients: range  # numbers of the rows of c
    interval: Int[Tensor, "E"]  # k_e, counted from the first of them
    weights: Float[Tensor, "E 4"]
    derivatives: Float[Tensor, "E 4"]  # ∂w_eq/∂r_e, 1/Å
    edges: ops.Edges | None  # which compiled code for the CPU has already
    unit: Float[Tensor, "E 3"] | None = None  # from i to j, for convolutions with a direction


def knot_weights(
    knots: Knots,
    cutoff_fn: nn.Module,
    distance: Float[Tensor, "E"],
    edges: ops.Edges | None,
    unit: Float[Tensor, "E 3"] | None = None,
    coefficients: range | None = None,
) -> KnotWeights:
    """Weights of the knots for the edges of a batch, without a graph.

    Args:
        knots: of the filters.
        cutoff_fn: f, 0 at and beyond the cutoff, see `vanishes_beyond`.
        distance: r of each edge, Å.
        edges: sorted by target, with their reverse.
        unit: unit vectors, where a convolution has a `Direction`.
        coefficients: numbers of the rows; `None` is those that the distances need.
    """
    distance = distance.detach()
    coefficients = coefficients or knots.range(distance)
    count, (spacing, cutoff) = len(coefficients), (float(knots.spacing), float(knots.cutoff))
    grid = bspline.Grid(coefficients.start + 1, count, spacing, cutoff)
    f, df = value_and_derivative(cutoff_fn, distance)
    interval = torch.empty_like(distance, dtype=torch.long)
    weights, derivatives = distance.new_empty(2, distance.numel(), 4)
    ops.get_backend(distance).knot_weights(distance, f, df, grid, interval, weights, derivatives)
    return KnotWeights(coefficients, interval, weights, derivatives, edges, unit)


def csr_edges(data: Data) -> ops.Edges:
    """The edges of structures with `edge_index`, and `edge_reverse` if it is known.

    Raises:
        InputError: for edges that are not sorted by target or lack their reverse.
    """
    reverse, shift = data.get("edge_reverse"), data.get("edge_shift")
    if reverse is None:
        none = data.edge_index.new_zeros(data.edge_index.size(1), 3)
        shifts = none if shift is None else shift
        reverse = reverse_edges(data.edge_index, shifts, data.z.numel())
    return ops.edges_from_index(data.edge_index, reverse, data.z.numel(), shift)


def value_and_derivative(
    cutoff_fn: nn.Module, distance: Float[Tensor, "E"]
) -> tuple[Float[Tensor, "E"], Float[Tensor, "E"]]:
    """f(r) and f′(r), without a graph."""
    if type(cutoff_fn) is CosineCutoff and getattr(cutoff_fn.forward, "__func__", 0) is _COSINE:
        f, df = torch.empty_like(distance), torch.empty_like(distance)
        ops.get_backend(distance).cosine_cutoff(distance, float(cutoff_fn.cutoff), f, df)
        return f, df
    with torch.enable_grad():
        r = distance.detach().requires_grad_()
        f = cutoff_fn(r)
        (df,) = torch.autograd.grad(f.sum(), r) if f.requires_grad else (torch.zeros_like(r),)
    return f.detach().to(distance.dtype).contiguous(), df.contiguous()


@torch.no_grad()
def vanishes_beyond(cutoff_fn: nn.Module, cutoff: float) -> bool:
    """Whether f is 0 at and beyond a cutoff, Å, so that knots need not go farther."""
    tensors = (*cutoff_fn.parameters(), *cutoff_fn.buffers())
    like = next((t for t in tensors if t.is_floating_point()), torch.empty(0))
    r = cutoff * torch.tensor([1.0, 1.001, 1.01, 1.1, 1.3, 2.0, 10.0])
    return not cutoff_fn(r.to(like)).any()
