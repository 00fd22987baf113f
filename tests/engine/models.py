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


class PaiNNConv(RadialConv):
    """The message of PaiNN, on features that a small network made three times as wide."""

    def __init__(self):
        super().__init__(F, K)
        self.filter = nn.Linear(K, 3 * F)

    def message(self, x_j, v_j, W, edge_unit):
        s, a, b = (x_j * W).chunk(3, dim=-1)
        dv = a.unsqueeze(1) * edge_unit.unsqueeze(-1)
        return s, dv if v_j is None else dv + b.unsqueeze(1) * v_j


class PaiNNUpdate(nn.Module):
    """The update of PaiNN: U v, V v, and their product and norm."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(F, 2 * F, bias=False)
        self.network = nn.Sequential(nn.Linear(2 * F, F), nn.SiLU(), nn.Linear(F, 3 * F))

    def forward(self, x, v):
        u, w = self.mix(v).split(F, dim=-1)
        norm = torch.sqrt((w**2).sum(dim=1) + 1e-8)
        a, b, c = self.network(torch.cat([x, norm], dim=-1)).chunk(3, dim=-1)
        return x + a + b * (u * w).sum(dim=1), v + c[:, None] * u


class PaiNN(Model):
    def __init__(self, layers: int = 2):
        super().__init__()
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Linear(F, F), nn.SiLU(), nn.Linear(F, 3 * F)) for _ in range(layers)
        )
        self.convs = nn.ModuleList(PaiNNConv() for _ in range(layers))
        self.updates = nn.ModuleList(PaiNNUpdate() for _ in range(layers))
        self.double()

    def atomic_values(self, z, edges):
        x, v = self.embedding(z), None
        for network, conv, update in zip(self.networks, self.convs, self.updates, strict=True):
            dx, dv = conv(network(x), edges, v)
            x, v = update(x + dx, dv if v is None else v + dv)
        return self.readout(x)
