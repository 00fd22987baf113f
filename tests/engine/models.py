"""Small models in the form that the engine reads, and one batch of edges for them."""

import torch
from torch import Tensor, nn

from schnetgeo.nn.basis import GaussianBasis
from schnetgeo.nn.conv import CFConv, EdgeFeatures, RadialConv
from schnetgeo.nn.cutoff import CosineCutoff
from schnetgeo.nn.interaction import Interaction
from schnetgeo.nn.mlp import ShiftedSoftplus
from schnetgeo.nn.model import AtomisticModel
from schnetgeo.nn.readout import SumReadout

F, K, Z = 8, 6, 10


def cfconv() -> CFConv:
    return CFConv(F, K)


def interaction(conv: RadialConv) -> Interaction:
    return Interaction(F, conv, ShiftedSoftplus)


class Model(AtomisticModel):
    """Residual blocks between an embedding and a readout."""

    def __init__(self, *blocks: nn.Module):
        super().__init__(5.0, Z, GaussianBasis(K, 5.0), CosineCutoff(5.0))
        self.embedding = nn.Embedding(Z, F)
        self.blocks = nn.ModuleList(blocks)
        self.readout = SumReadout(F, 4, nn.SiLU)
        self.double()

    def atomic_values(self, z, edges):
        x = self.embedding(z)
        for block in self.blocks:
            x = x + block(x, edges)
        return self.readout(x)


def of_conv(conv: nn.Module) -> Model:
    """A model of one convolution."""
    return Model(interaction(conv))


def batch(model: nn.Module, num_atoms: int = 7) -> tuple[Tensor, EdgeFeatures]:
    """Atomic numbers and edges between all atoms at random places."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randint(1, Z, (num_atoms,), generator=generator)
    pos = 2 * torch.rand(num_atoms, 3, generator=generator, dtype=torch.float64)
    target, source = (~torch.eye(num_atoms, dtype=torch.bool)).nonzero().T
    vector = pos[source] - pos[target]
    r = vector.norm(dim=1)
    edge_index = torch.stack([source, target])
    return z, EdgeFeatures(edge_index, model.cutoff_fn(r), model.basis(r), vector / r[:, None])
