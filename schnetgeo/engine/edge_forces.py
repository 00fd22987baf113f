"""Lengths of edges from positions, and forces and virial from gradients along edges.

An energy of the lengths r_e and unit vectors u_e of edges has the gradient
g_e = S_e u_e + (D_e − u_e (u_e·D_e)) / r_e for the vector of an edge, with S_e = ∂E/∂r_e and
D_e = ∂E/∂u_e. How it is divided between the two edges of a pair is free.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch_geometric.data import Data

from schnetgeo import ops
from schnetgeo.geometry import batch_index, lattice_offsets, num_structures
from schnetgeo.ops.torch_backend import SMALLEST


class EdgeGradient(NamedTuple):
    """Gradients of an energy along edges, and where the edges lead."""

    radial: Float[Tensor, "E"]  # S
    angular: Float[Tensor, "E 3"] | None  # D, of a model that looks at directions
    vectors: Float[Tensor, "E 3"]
    distance: Float[Tensor, "E"]
    unit: Float[Tensor, "E 3"] | None

    @property
    def vector(self) -> Float[Tensor, "E 3"]:
        """g_e."""
        unit, angular = self.unit, self.angular
        if unit is None:
            unit = unit_vectors(self.vectors, self.distance)
        gradient = self.radial.unsqueeze(1) * unit
        if angular is None:
            return gradient
        across = angular - unit * (unit * angular).sum(1, keepdim=True)
        return gradient + across / self.distance.clamp(min=SMALLEST).unsqueeze(1)


def edge_lengths(data: Data, dtype: torch.dtype) -> tuple[Float[Tensor, "E 3"], Float[Tensor, "E"]]:
    """The `geometry.edge_vectors` r_e of a batch, and |r_e|, without a graph."""
    pos, (source, target) = data.pos.detach().double(), data.edge_index
    vectors = pos.new_empty(source.numel(), 3, dtype=dtype)
    distance = vectors.new_empty(source.numel())
    offset = lattice_offsets(data, pos.dtype) if _crosses_cells(data) else None
    ops.get_backend(vectors).edge_lengths(pos, source, target, offset, vectors, distance)
    return vectors, distance


def _crosses_cells(data: Data) -> bool:
    """Whether an edge may lead to another cell; a GPU is not waited for."""
    shift = data.get("edge_shift")
    if shift is None:
        return False
    known = shift.device.type == "cpu" and shift.shape == (data.edge_index.size(1), 3)
    return not known or bool(shift.numpy().any())


def unit_vectors(
    vectors: Float[Tensor, "E 3"], distance: Float[Tensor, "E"]
) -> Float[Tensor, "E 3"]:
    """u_e = r_e / |r_e|, 0 for an edge without length."""
    return vectors / distance.clamp(min=SMALLEST).unsqueeze(1)


def edge_forces(edges: EdgeGradient, data: Data) -> Float[Tensor, "N 3"]:
    """F_i = Σ_{e: j→i} g_e − Σ_{e: i→k} g_e; gradients flow to S and D."""
    count, (source, target) = data.z.numel(), data.edge_index
    if edges.angular is None:
        arguments = edges.vectors, edges.distance, data.edge_index, count
        return EdgeForces.apply(edges.radial, *arguments)
    gradient = edges.vector
    forces = gradient.new_zeros(count, 3).index_add(0, target, gradient)
    return forces.index_add(0, source, gradient, alpha=-1)


def edge_virial(edges: EdgeGradient, data: Data) -> Float[Tensor, "B 3 3"]:
    """∂E/∂strain = Σ_e g_e ⊗ r_e of each structure."""
    structure = batch_index(data).index_select(0, data.edge_index[1])
    outer = edges.vector.unsqueeze(2) * edges.vectors.unsqueeze(1)
    return outer.new_zeros(num_structures(data), 3, 3).index_add(0, structure, outer)


class EdgeForces(torch.autograd.Function):
    """F_i = Σ_{e: j→i} S_e r_e / |r_e| − Σ_{e: i→k} S_e r_e / |r_e|, for S alone.

    Called as `apply(radial, vectors, distance, edge_index, num)` with S_e (E,), r_e (E, 3) from
    target to source, |r_e| (E,), and the number of atoms. Gradients flow to S alone.
    """

    @staticmethod
    def forward(ctx, radial: Tensor, vectors: Tensor, distance: Tensor, edge_index: Tensor, num):
        ctx.edges = vectors, distance, *edge_index
        forces = radial.new_zeros(num, 3)
        ops.get_backend(radial).add_forces(radial, *ctx.edges, forces)
        return forces

    @staticmethod
    @once_differentiable
    def backward(ctx, force_bar: Tensor):
        radial_bar = torch.empty_like(ctx.edges[1])
        ops.get_backend(force_bar).add_forces_vjp(force_bar, *ctx.edges, radial_bar)
        return radial_bar, None, None, None, None
