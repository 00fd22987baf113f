"""Layers of the zoo are physical, equal their formulas, and run on the engine where they can."""

from functools import partial

import pytest
import torch
from ase.build import molecule
from torch import nn
from torch_geometric.nn import GATv2Conv, GINEConv, NNConv, TransformerConv

import schnetgeo as sg
from schnetgeo.data import with_edges
from schnetgeo.errors import InputError
from schnetgeo.nn import EdgeFeatures
from schnetgeo.nn.zoo import (
    AttentionConv,
    EdgeUpdateSchNet,
    GatedConv,
    NormInteraction,
    PhysNetConv,
    PhysNetInteraction,
    PyGConv,
)
from tests.nn.weights import randomize

SMALL = dict(channels=8, num_layers=2, num_basis=6, cutoff=4.0)
MODELS = {
    "gated": partial(sg.SchNet, conv=GatedConv, **SMALL),
    "norm": partial(sg.SchNet, interaction=NormInteraction, **SMALL),
    "physnet": partial(
        sg.SchNet, conv=PhysNetConv, interaction=PhysNetInteraction, in_bias=True, **SMALL
    ),
    "attention": partial(sg.SchNet, conv=partial(AttentionConv, heads=2), **SMALL),
    "edge_update": partial(EdgeUpdateSchNet, **SMALL),
}
ON_THE_ENGINE = {"gated", "norm", "physnet"}


class GINE(PyGConv):
    def __init__(self, channels, num_basis):
        network = nn.Linear(channels, channels)
        super().__init__(channels, num_basis, GINEConv(network, edge_dim=num_basis))


class NN(PyGConv):
    def __init__(self, channels, num_basis):
        network = nn.Linear(num_basis, channels * channels)
        super().__init__(channels, num_basis, NNConv(channels, channels, network))


class GAT(PyGConv):
    def __init__(self, channels, num_basis):
        layer = GATv2Conv(channels, channels, edge_dim=num_basis, add_self_loops=False)
        super().__init__(channels, num_basis, layer)


class Transformer(PyGConv):
    def __init__(self, channels, num_basis):
        layer = TransformerConv(channels, channels, edge_dim=num_basis)
        super().__init__(channels, num_basis, layer)


@pytest.mark.parametrize("conv", [GatedConv, PhysNetConv, AttentionConv, GINE, NN])
def test_layers_are_physical(conv):
    sg.testing.check_conv(conv)


@pytest.mark.parametrize("conv", [GAT, Transformer])
def test_a_softmax_over_neighbors_is_noticed(conv):
    with pytest.raises(sg.testing.CheckFailed, match="must not count or normalize over neighbors"):
        sg.testing.check_conv(conv)


@pytest.mark.parametrize("name", MODELS)
def test_models_are_physical(name):
    torch.manual_seed(0)
    sg.testing.check_potential(MODELS[name]())


@pytest.mark.parametrize("name", MODELS)
def test_the_engine_runs_what_it_can(name):
    torch.manual_seed(0)
    potential = sg.Potential(MODELS[name]()).eval()
    text = str(sg.engine.explain(potential, sg.from_ase(molecule("CH3CH2OH"))))
    assert ("autograd" in text.splitlines()[0]) == (name not in ON_THE_ENGINE), text


@pytest.mark.parametrize("name", MODELS)
def test_models_are_saved_and_loaded(name, tmp_path):
    torch.manual_seed(0)
    potential = sg.Potential(MODELS[name]()).eval()
    potential.save(tmp_path / "model.safetensors")
    data = sg.from_ase(molecule("CH3CH2OH"))
    again = sg.load(tmp_path / "model.safetensors")(data)
    assert torch.equal(again.energy, potential(data).energy)


@pytest.fixture
def edges():
    """Edges of ethanol for 8 channels and 6 basis functions, in float64."""
    model = sg.SchNet(**SMALL).double()
    return model.edge_features(with_edges(sg.from_ase(molecule("CH3CH2OH")), 4.0))


def features():
    return torch.randn(9, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def sum_over_edges(layer, edges: EdgeFeatures, message):
    """Σ f m, edge by edge."""
    total = torch.zeros(9, 8, dtype=torch.float64)
    for e, (j, i) in enumerate(edges.edge_index.T.tolist()):
        total[i] += edges.edge_weight[e] * message(i, j, edges.edge_attr[e])
    return total


def test_attention_is_that_of_the_formula(edges):
    layer, x = randomize(AttentionConv(8, 6, heads=2).double(), seed=0), features()
    query, key, value = layer.query_key_value(x).chunk(3, dim=1)

    def message(i, j, basis):
        of_key, of_value = layer.filter(basis).chunk(2)
        products = query[i] * key[j] * of_key
        heads = [products[:4].sum(), products[4:].sum()]
        attention = torch.stack([h * h.sigmoid() for h in heads]).repeat_interleave(4)
        return attention * value[j] * of_value

    expected = layer.out(sum_over_edges(layer, edges, message))
    torch.testing.assert_close(layer(x, edges), expected, rtol=1e-12, atol=1e-14)


def test_gate_is_that_of_the_formula(edges):
    layer, x = randomize(GatedConv(8, 6).double(), seed=0), features()
    expected = sum_over_edges(
        layer, edges, lambda i, j, basis: layer.gate(x[i]).sigmoid() * x[j] * layer.filter(basis)
    )
    torch.testing.assert_close(layer(x, edges), expected, rtol=1e-12, atol=1e-14)


def test_physnet_begins_as_a_residual_of_its_output():
    """The factor of x starts at one, as in the paper."""
    layer = PhysNetInteraction(8, PhysNetConv(8, 6), nn.SiLU)
    assert torch.equal(layer.scale, torch.zeros(8))


def test_heads_must_divide_channels():
    with pytest.raises(InputError, match="heads must divide channels=10, got 4"):
        AttentionConv(10, 6, heads=4)
