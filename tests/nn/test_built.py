"""What a SchNet knows of its parts holds no longer than they do."""

import copy
import pickle

import pytest
import torch
from ase.build import molecule
from torch import nn
from torch.nn.utils import parametrize, prune

from schnetgeo.data import from_ase
from schnetgeo.nn import SchNet
from schnetgeo.nn.cutoff import CosineCutoff
from schnetgeo.nn.mlp import ShiftedSoftplus
from schnetgeo.potential import Potential
from tests.nn.weights import layered, randomize


def potential_of():
    model = SchNet(channels=8, num_layers=2, num_basis=8, cutoff=4.0).double()
    return Potential(randomize(model, seed=1)).train()


def data_of():
    atoms = molecule("CH3OH")
    atoms.rattle(0.1, seed=0)
    return from_ase(atoms)


def assert_as_new(potential):
    """The same as what a model gives that takes its layers one by one."""
    other = layered(potential) if potential.is_fast else copy.deepcopy(potential)
    other.filters = "exact"
    found, expected = potential(data_of()), other(data_of())
    torch.testing.assert_close(found.energy, expected.energy, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.forces, expected.forces, rtol=1e-10, atol=1e-11)
    return found


def weights_in_place(model):
    with torch.no_grad():
        model.interactions[0].lin1.weight.mul_(1.5)


def new_parameter(model):
    model.interactions[1].lin2.weight = nn.Parameter(torch.rand(8, 8).double())


def new_layer(model):
    model.interactions[0].lin3 = nn.Linear(8, 8).double()


def new_filter(model):
    filter = model.interactions[0].conv.filter
    model.interactions[0].conv.filter = nn.Sequential(*map(copy.deepcopy, filter))


def new_embedding(model):
    model.embedding = nn.Embedding(100, 8).double()


def padded_embedding(model):
    model.embedding = nn.Embedding(100, 8, padding_idx=6).double()


def other_activation(model):
    for interaction in model.interactions:
        interaction.activation = nn.Tanh()


def pruned(model):
    """The order in which the layer registered its parameters is another now."""
    prune.l1_unstructured(model.interactions[0].lin2, "weight", 0.3)
    prune.remove(model.interactions[0].lin2, "weight")


def parametrized(model):
    layer = model.interactions[1].lin1
    parametrize.register_parametrization(layer, "weight", Doubled())


def parametrized_for_a_while(model):
    layer = model.interactions[1].conv.filter[2]
    parametrize.register_parametrization(layer, "weight", Doubled())
    parametrize.remove_parametrizations(layer, "weight")


def small_embeddings(model):
    model.embedding.max_norm = 0.1


def narrow_filter(model):
    for interaction in model.interactions:
        filter = interaction.conv.filter
        filter[0], filter[2] = nn.Linear(8, 5).double(), nn.Linear(5, 8).double()


def wide_layers(model):
    for interaction in model.interactions:
        interaction.lin2, interaction.lin3 = nn.Linear(8, 12).double(), nn.Linear(12, 8).double()


def readout_without_bias(model):
    model.readout.lin1 = nn.Linear(8, 4, bias=False).double()


class DoubledLinear(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def doubled_readout(model):
    model.readout.lin2 = DoubledLinear(4, 1).double()


def output_without_bias(model):
    model.readout.lin2.bias = None


def weight_that_is_no_parameter(model):
    layer = model.interactions[0].lin2
    weight = layer.weight.detach()
    del layer.weight
    layer.weight = weight


def other_shape(model):
    for layer, shape in ((model.readout.lin1, (6, 8)), (model.readout.lin2, (1, 6))):
        layer.weight = nn.Parameter(torch.rand(shape).double())
    model.readout.lin1.bias = nn.Parameter(torch.rand(6).double())


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


def other_state(model):
    model.load_state_dict(randomize(copy.deepcopy(model), seed=9).state_dict())


@pytest.mark.parametrize("change", [weights_in_place, new_parameter, new_layer, new_filter,
    new_embedding, padded_embedding, other_activation, other_state, pruned, parametrized,
    parametrized_for_a_while, small_embeddings, narrow_filter, wide_layers, readout_without_bias,
    doubled_readout, output_without_bias, weight_that_is_no_parameter, other_shape])  # fmt: skip
def test_changes_after_a_call_count(change):
    potential = potential_of()
    before = potential(data_of()).energy
    change(potential.model)
    found = assert_as_new(potential)
    assert torch.equal(found.energy, before) == (change is new_filter)
    potential.zero_grad()
    (found.energy.sum() + found.forces.square().sum()).backward()
    missing = [n for n, p in potential.named_parameters() if p.grad is None]
    assert not missing


class SquaredEnvelope(CosineCutoff):
    def forward(self, distance):
        return super().forward(distance).square()


class SharpSoftplus(ShiftedSoftplus):
    def forward(self, x):
        return super().forward(2 * x)


@pytest.mark.parametrize(
    "part", [dict(cutoff_fn=SquaredEnvelope), dict(activation=SharpSoftplus)], ids=str
)
def test_subclasses_are_functions_of_their_own(part):
    model = SchNet(channels=8, num_layers=2, num_basis=8, cutoff=4.0, **part).double()
    assert_as_new(Potential(randomize(model, seed=1)).train())


@pytest.mark.parametrize("again", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copies_compute_with_their_own_parts(again):
    potential = potential_of()
    before = potential(data_of())
    other = again(potential)
    weights_in_place(other.model)
    changed = assert_as_new(other)
    assert torch.equal(potential(data_of()).energy, before.energy)
    assert not torch.equal(changed.energy, before.energy)


def test_another_type_after_a_call():
    potential = potential_of()
    double = potential(data_of())
    single = potential.float()(data_of())
    assert single.forces.dtype == torch.float32
    torch.testing.assert_close(single.forces.double(), double.forces, rtol=1e-4, atol=1e-5)


def test_fixed_parameters_get_no_gradient():
    potential = potential_of()
    potential(data_of())
    potential.model.embedding.requires_grad_(False)
    potential.model.interactions[0].requires_grad_(False)
    potential(data_of()).forces.square().sum().backward()
    for name, parameter in potential.named_parameters():
        fixed = name.startswith(("model.embedding", "model.interactions.0"))
        assert (parameter.grad is None) == fixed, name
