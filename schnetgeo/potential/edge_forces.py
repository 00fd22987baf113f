"""Lengths of edges from positions, and forces from slopes along edges, in one call each.

An energy of the distances alone has the derivative S_e + S_e′ for the distance of a pair, where e
and e′ are its two edges. How it is divided between them is free.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch_geometric.data import Data

from schnetgeo import ops
from schnetgeo.geometry import lattice_offsets
from schnetgeo.ops.reference import per_edge


def edge_lengths(data: Data, dtype: torch.dtype) -> tuple[Float[Tensor, "E 3"], Float[Tensor, "E"]]:
    """The `geometry.edge_vectors` r_e of a batch, and |r_e|, without a graph."""
    pos, (source, target) = data.pos.detach().double(), data.edge_index
    vectors = pos.new_empty(source.numel(), 3, dtype=dtype)
    distance = vectors.new_empty(source.numel())
    offset = lattice_offsets(data, pos.dtype)
    ops.kernels(vectors).measure(pos, source, target, offset, vectors, distance)
    return vectors, distance


class EdgeForces(torch.autograd.Function):
    """F_i = Σ_{e: j→i} S_e r_e / |r_e| − Σ_{e: i→k} S_e r_e / |r_e|.

    Called as `apply(slope, vectors, distance, edge_index, num)` with S_e (E,), r_e (E, 3) from
    target to source, |r_e| (E,), and the number of atoms. Gradients flow to the slopes alone.
    """

    @staticmethod
    def forward(ctx, slope: Tensor, vectors: Tensor, distance: Tensor, edge_index: Tensor, num):
        ctx.edges = vectors, distance, *edge_index
        forces = slope.new_zeros(num, 3)
        ops.kernels(slope).add_forces(slope, *ctx.edges, forces)
        return forces

    @staticmethod
    @once_differentiable
    def backward(ctx, force_bar: Tensor):
        slope_bar = torch.empty_like(ctx.edges[1])
        ops.kernels(force_bar).along(force_bar, *ctx.edges, slope_bar)
        return slope_bar, None, None, None, None


def virial_from_edges(
    slope: Float[Tensor, "E"],
    vectors: Float[Tensor, "E 3"],
    distance: Float[Tensor, "E"],
    structure: Int[Tensor, "E"],
    num: int,
) -> Float[Tensor, "B 3 3"]:
    """∂E/∂strain = Σ_e S_e r_e ⊗ r_e / |r_e|, symmetric, of the structure of each edge."""
    weighted = per_edge(slope, vectors, distance)
    outer = weighted.unsqueeze(2) * vectors.unsqueeze(1)
    return outer.new_zeros(num, 3, 3).index_add(0, structure, outer)
