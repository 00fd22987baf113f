"""Messages that are sums of products a(x_i) b(x_j) W(r) are lowered, whoever wrote them."""

import pytest
import torch
from torch import nn
from torch_geometric.nn import MessagePassing

from schnetgeo.engine.lowering.lower import Refusal, lower
from schnetgeo.engine.program import FilterConv
from tests.engine.models import F, K, Model, RadialConv, of_conv
from tests.engine.test_lowering import check, count


class Conv(RadialConv):
    """A convolution with some layers to choose from."""

    def __init__(self):
        super().__init__(F, K)
        self.filter = nn.Linear(K, F)
        self.second = nn.Sequential(nn.Linear(K, F), nn.Tanh())
        self.gate = nn.Sequential(nn.Linear(F, F), nn.Sigmoid())
        self.lin = nn.Linear(F, F)
        self.row = nn.Parameter(torch.rand(F))


class Gate(Conv):
    def message(self, x_i, x_j, W):
        return x_i.sigmoid() * x_j * W


class GatedConv(Conv):
    def message(self, x_i, x_j, edge_attr):
        return self.gate(x_i) * x_j * self.filter(edge_attr)


class Difference(Conv):
    def message(self, x_i, x_j, W):
        return (x_j - x_i) * W


class TwoFilters(Conv):
    def message(self, x_j, W, edge_attr):
        return x_j * W - 2 * (self.second(edge_attr) * x_j) / 3


class SumOfProducts(Conv):
    def message(self, x_i, x_j, W, edge_attr):
        return (self.lin(x_j) + x_i * x_j + 0.5) * (W + self.second(edge_attr) * x_i.tanh() + 1)


class SourceAlone(Conv):
    def message(self, x_j):
        return x_j


class TargetAlone(Conv):
    def message(self, x_i):
        return x_i


class FilterAlone(Conv):
    def message(self, x_j, W):
        return W


class FilterOfFilter(Conv):
    def message(self, x_j, W, edge_attr):
        filter = torch.cat([W[:, :3], edge_attr[:, :5] * W[:, -1:]], dim=-1)
        return x_j * filter * torch.exp(-filter.square()) + x_j * edge_attr.mean(-1, keepdim=True)


class Row(Conv):
    def message(self, x_j, x_i, W):
        return self.row * (x_j * W) + self.row * (x_j * x_i) + (x_j * W + x_i) * self.row.exp()


class Chunks(Conv):
    def message(self, x_i, x_j, W):
        product = x_j * W + 0.1 * x_i
        first, second = product.chunk(2, dim=-1)
        return first[:, :1] * x_j + second[..., -1:] * W


class OneChannel(Conv):
    def message(self, x_i, x_j, W):
        return x_j.sum(-1, keepdim=True) * W + x_i[:, :1] * x_j * W.mean(dim=1, keepdim=True)


class Zero(Conv):
    def message(self, x_j, W):
        return 0 * (x_j * W) + x_j * W


CONVS = [
    Gate, GatedConv, Difference, TwoFilters, SumOfProducts, SourceAlone, TargetAlone, FilterAlone,
    FilterOfFilter, Row, Chunks, OneChannel, Zero,
]  # fmt: skip


@pytest.mark.parametrize("conv", CONVS)
def test_messages(conv):
    check(of_conv(conv()))


@pytest.mark.parametrize(
    ("conv", "number"), [(Gate, 1), (Difference, 2), (TwoFilters, 1), (Row, 3)]
)
def test_terms_share_convolutions(conv, number):
    assert count(check(of_conv(conv())), FilterConv) == number


class VectorModel(Model):
    """Scalars and vectors that a message of two parts makes, and then their products."""

    def __init__(self, conv: nn.Module):
        super().__init__()
        self.conv, self.lin = conv, nn.Linear(F, F, bias=False)
        self.double()

    def atomic_values(self, z, edges):
        x = self.embedding(z)
        v = x.new_zeros(x.shape[0], 3, F)
        for _ in range(2):
            dx, dv = self.conv(x, edges, v)
            v = self.lin(v + dv)
            x = x + dx + (v * v).sum(1) * x
        return self.readout(x)


class Vectors(Conv):
    def message(self, x_j, W, edge_unit):
        return x_j * W, (x_j * W)[:, None] * edge_unit[..., None]


class Divergence(Conv):
    def message(self, x_j, x_i, v_j, W, edge_unit):
        u = edge_unit.unsqueeze(-1)
        return x_j * W * (v_j * u).sum(dim=1) + x_i, W.unsqueeze(1) * (x_i.unsqueeze(1) * u - v_j)


class Projections(Conv):
    """Scalar products of each pair of vectors that an edge has."""

    def message(self, x_j, v_i, v_j, W, edge_unit):
        u = edge_unit.unsqueeze(-1)
        s = (v_i * v_j).sum(1) * W + (v_i * u * x_j[:, None]).sum(1) * W
        s = s + ((v_i + 2 * v_j) * u).sum(1) * x_j * W + v_i.mean(1) * W
        return s, v_j * W.unsqueeze(1) + u * x_j.unsqueeze(1) + v_i * u * x_j.unsqueeze(1)


class Transposed(Conv):
    """Vectors as (E, F, 3)."""

    def message(self, x_j, v_j, W, edge_unit):
        v = v_j.transpose(1, 2) * W.unsqueeze(-1) + (x_j * W).unsqueeze(-1) * edge_unit.unsqueeze(1)
        return x_j * W, v.transpose(1, 2)


@pytest.mark.parametrize("conv", [Vectors, Divergence, Projections, Transposed])
def test_messages_of_vectors(conv):
    check(VectorModel(conv()))


class ByHand(nn.Module):
    """A sum over neighbors without a class of PyG."""

    def __init__(self):
        super().__init__()
        self.filter = nn.Linear(K, F)

    def forward(self, x, edges):
        source, target = edges.edge_index
        message = x[source] * self.filter(edges.edge_attr) * edges.edge_weight[:, None]
        index = target.view(-1, 1).expand_as(message)
        return torch.zeros_like(x).scatter_add_(0, index, message).index_add(0, target, message)


class Plain(MessagePassing):
    """A layer of PyG that knows nothing of this package."""

    def __init__(self):
        super().__init__()
        self.filter = nn.Linear(K, F)

    def forward(self, x, edges):
        return self.propagate(edges.edge_index, x=x, edges=edges)

    def message(self, x_j, edges):
        return x_j * self.filter(edges.edge_attr) * edges.edge_weight.unsqueeze(1)


@pytest.mark.parametrize("layer", [ByHand, Plain])
def test_layers_without_the_base_class(layer):
    lowered = check(Model(layer()))
    assert count(lowered, FilterConv) == 1


class Exponential(Conv):
    def message(self, x_j, W):
        return torch.exp(x_j * W)


class Mixed(Conv):
    def message(self, x_i, x_j, W):
        return self.lin(x_i + x_j) * W


class Attention(Conv):
    def message(self, x_i, x_j, W):
        return (x_i * x_j).sum(-1, keepdim=True) * W


class Weighted(Conv):
    def message(self, x_j, W, edge_weight):
        return x_j * W * edge_weight[:, None]


class NoCutoff(Gate):
    def aggregate(self, inputs, index, dim_size):
        return inputs.new_zeros(dim_size, F).index_add(0, index, inputs)


class TwoUnits(Conv):
    def message(self, x_j, W, edge_unit):
        return x_j * W * (edge_unit * edge_unit).sum(1, keepdim=True)


class Targets(Gate):
    def __init__(self):
        super().__init__()
        self.flow = "target_to_source"


class Max(Gate):
    def aggregate(self, inputs, index, dim_size):
        zeros = inputs.new_zeros(dim_size, F)
        return zeros.scatter_reduce(0, index[:, None].expand_as(inputs), inputs, "amax")


REFUSED = {
    Exponential: "takes EXP of b(x_j) W(r), a sum of products",
    Mixed: "applies a linear layer to a(x_i) + b(x_j), a sum of products",
    Attention: "sums channels of a(x_i) b(x_j), a sum of products",
    Weighted: "carry the cutoff function",
    NoCutoff: "carry the cutoff function",
    TwoUnits: "two unit vectors",
    Targets: "by edge_index[0], not by their target",
    Max: "takes torch.Tensor.scatter_reduce",
}


@pytest.mark.parametrize("conv", REFUSED)
def test_other_messages_are_refused(conv):
    refusal = lower(of_conv(conv()))
    assert isinstance(refusal, Refusal)
    assert refusal.reason.startswith(f"{conv.__name__}.")
    assert REFUSED[conv] in refusal.reason
    assert "blocks.0.conv" in refusal.reason
    assert refusal.reason.endswith("autograd runs the model")
