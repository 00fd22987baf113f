"""Small models in the form that the engine reads, and one batch of edges for them."""

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from schnetgeo.engine.lowering import EdgeFeatures
from schnetgeo.nn.basis import GaussianBasis
from schnetgeo.nn.mlp import ShiftedSoftplus

F, K, Z = 8, 6, 10


class RadialConv(MessagePassing):
    def __init__(self, channels: int = F, num_basis: int = K):
        super().__init__(aggr="add", node_dim=0)
        self.channels, self.num_basis = channels, num_basis

    def forward(self, x, edges: EdgeFeatures, v=None):
        W = self.filter(edges.edge_attr) if hasattr(self, "filter") else None
        return self.propagate(
            edges.edge_index,
            x=x,
            v=v,
            W=W,
            edge_weight=edges.edge_weight,
            edge_attr=edges.edge_attr,
            edge_unit=edges.edge_unit,
        )

    def aggregate(self, inputs, index, edge_weight, dim_size):
        if isinstance(inputs, tuple):
            return tuple(self.aggregate(each, index, edge_weight, dim_size) for each in inputs)
        if inputs.shape[-1] != self.channels:
            raise ValueError(f"message returned {tuple(inputs.shape)}")
        weighted = inputs * edge_weight.view(-1, *[1] * (inputs.dim() - 1))
        return weighted.new_zeros(dim_size, *inputs.shape[1:]).index_add(0, index, weighted)


class CFConv(RadialConv):
    def __init__(self, channels: int = F, num_basis: int = K):
        super().__init__(channels, num_basis)
        layers = nn.Linear(num_basis, channels), ShiftedSoftplus(), nn.Linear(channels, channels)
        self.filter = nn.Sequential(*layers)

    def message(self, x_j: Tensor, W: Tensor) -> Tensor:
        return x_j * W


class Interaction(nn.Module):
    def __init__(self, conv: nn.Module):
        super().__init__()
        self.lin1, self.conv, self.lin2 = nn.Linear(F, F, bias=False), conv, nn.Linear(F, F)
        self.activation, self.lin3 = ShiftedSoftplus(), nn.Linear(F, F)

    def forward(self, x, edges):
        return self.lin3(self.activation(self.lin2(self.conv(self.lin1(x), edges))))


class Model(nn.Module):
    """Residual blocks between an embedding and a readout."""

    def __init__(self, *blocks: nn.Module):
        super().__init__()
        self.basis = GaussianBasis(K, 5.0)
        self.embedding = nn.Embedding(Z, F)
        self.blocks = nn.ModuleList(blocks)
        self.readout = nn.Sequential(nn.Linear(F, 4), nn.SiLU(), nn.Linear(4, 1))
        self.double()

    def atomic_values(self, z, edges):
        x = self.embedding(z)
        for block in self.blocks:
            x = x + block(x, edges)
        return self.readout(x).squeeze(-1)


def of_conv(conv: nn.Module) -> Model:
    """A model of one convolution."""
    return Model(Interaction(conv))


def batch(model: nn.Module, num_atoms: int = 7) -> tuple[Tensor, EdgeFeatures]:
    """Atomic numbers and edges between all atoms at random places."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randint(1, Z, (num_atoms,), generator=generator)
    pos = 2 * torch.rand(num_atoms, 3, generator=generator, dtype=torch.float64)
    target, source = (~torch.eye(num_atoms, dtype=torch.bool)).nonzero().T
    vector = pos[source] - pos[target]
    r = vector.norm(dim=1)
    weight = torch.cos(r / 5) ** 2
    edge_index = torch.stack([source, target])
    return z, EdgeFeatures(edge_index, weight, model.basis(r), vector / r[:, None])


class PaiNNConv(RadialConv):
    """The message of PaiNN, on features that a small network made three times as wide."""

    def __init__(self, channels: int = F, num_basis: int = K):
        super().__init__(channels, num_basis)
        self.filter = nn.Linear(num_basis, 3 * channels)

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
        return self.readout(x).squeeze(-1)
