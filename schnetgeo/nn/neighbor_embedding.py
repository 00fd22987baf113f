"""SchNet whose features begin with what neighbors an atom has."""

import torch
from jaxtyping import Int
from torch import Tensor, nn

from schnetgeo.nn.conv import EdgeFeatures, RadialConv
from schnetgeo.nn.mlp import dense
from schnetgeo.nn.readout import AtomicValues
from schnetgeo.nn.schnet import SchNet
from schnetgeo.nn.state_embedding import States


class NeighborConv(RadialConv):
    """y_i = Σ_j f(r_ij) W(r_ij) ⊙ x_j with W one dense layer of the basis."""

    def __init__(self, channels: int, num_basis: int):
        super().__init__(channels, num_basis)
        self.filter = dense(num_basis, channels)

    def message(self, x_j: Tensor, W: Tensor) -> Tensor:
        return x_j * W


class NeighborSchNet(SchNet):
    """SchNet from x⁰_i = combine([a(z_i), Σ_j f(r_ij) W(r_ij) ⊙ b(z_j)]): TorchMD-Net's default.

    Args:
        **arguments: those of `SchNet`.

    Source: Thölke, De Fabritiis, ICLR 2022, arXiv:2202.02541, eq. 3.
    """

    def __init__(self, **arguments):
        super().__init__(**arguments)
        max_z, channels = self.embedding.weight.shape
        self.neighbor_embedding = nn.Embedding(max_z, channels)
        self.neighbor_conv = NeighborConv(channels, self.basis.num_basis)
        self.combine = dense(2 * channels, channels)

    def atomic_values(
        self, z: Int[Tensor, "N"], edges: EdgeFeatures, states: States | None = None
    ) -> AtomicValues:
        neighbors = self.neighbor_conv(self.neighbor_embedding(z), edges)
        x = self.combine(torch.cat([self.embed(z, states), neighbors], dim=-1))
        for interaction in self.interactions:
            x = x + interaction(x, edges)
        return self.readout(x)
