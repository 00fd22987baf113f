"""Arguments of SchNet that are not what they must be are named, with what to pass."""

import pytest
import torch
import torch_geometric.nn as gnn
from ase.build import molecule
from torch import nn

from schnetgeo.data import from_ase
from schnetgeo.errors import InputError
from schnetgeo.nn import BesselBasis, CFConv, RadialConv, SchNet
from schnetgeo.potential import Potential


class Narrow(RadialConv):
    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis)
        self.filter = nn.Linear(num_basis, channels - 1)

    def message(self, x_j, W):
        return W


class WithoutSuper(RadialConv):
    def __init__(self, channels, num_basis):
        self.lin = nn.Linear(3, 3)


class OneArgument(RadialConv):
    def __init__(self, channels):
        super().__init__(channels, 10)


class Vectors(RadialConv):
    def message(self, x_j, edge_vec):
        return x_j


class Filterless(RadialConv):
    def message(self, x_j, W):
        return x_j * W


class Simple(RadialConv):
    def message(self, x_j, edge_attr, scale=2.0):
        return scale * x_j * edge_attr.sum(-1, keepdim=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(conv=gnn.GATConv), "conv must be a subclass of schnetgeo.nn.RadialConv, got GATConv"),
        (dict(conv="CFConv"), "got 'CFConv'; pass the class itself"),
        (dict(conv=CFConv(8, 8)), "got CFConv.*; pass the class itself"),
        (dict(conv=lambda f, k: nn.Linear(k, f)), "conv must be a subclass .* RadialConv"),
        (dict(conv=WithoutSuper), r"built as conv\(8, 8\), but WithoutSuper cannot: .*__init__"),
        (dict(conv=OneArgument), "OneArgument cannot: .* 2 positional arguments but 3"),
        (dict(conv=Vectors), "message takes edge_vec, but there are x_i, x_j"),
        (dict(conv=Filterless), "takes W, but the layer has no module `filter`"),
        (dict(readout=nn.Linear), "readout must be a subclass of schnetgeo.nn.Readout"),
        (dict(activation=nn.SiLU()), "activation must be a subclass of torch.nn.Module, got SiLU"),
        (dict(activation="silu"), "activation must be .* got 'silu'"),
        (dict(activation=torch.tanh), r"built as activation\(\), but tanh cannot"),
        (dict(readout_activation=nn.Linear), "readout_activation must be .* Linear cannot"),
        (dict(cutoff_fn=nn.Bilinear), r"built as cutoff_fn\(4.0\), but Bilinear cannot"),
        (dict(channels=16.0), "channels must be a whole number, got 16.0"),
        (dict(channels=True), "channels must be a whole number, got True"),
        (dict(num_layers="2"), "num_layers must be a whole number, got '2'"),
        (dict(num_basis=None), "num_basis must be a whole number, got None"),
        (dict(num_layers=0), "num_layers must be at least 1, got 0"),
        (dict(cutoff="5"), "cutoff must be a number in Å, got '5'"),
        (dict(cutoff=None), "cutoff must be a number in Å, got None"),
        (dict(cutoff=-1.0), "cutoff must be a positive distance"),
        (dict(gamma=nn.SiLU), "gamma must be a number in Å⁻²"),
        (dict(basis=BesselBasis(6, 4.0), num_basis=7), "num_basis=7 has no effect beside basis"),
        (dict(basis=BesselBasis(8, 4.0), gamma=2.0), "gamma=2.0 has no effect beside basis"),
        (dict(gamma=1e30), r"gamma must be .* got 1e\+30; give 1e\+06 or less"),
        (dict(in_bias=1), "in_bias must be True or False, got 1"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        SchNet(**{**dict(channels=8, num_layers=1, num_basis=8, cutoff=4.0), **arguments})


@pytest.mark.parametrize("filters", ["spline", "exact"])
def test_a_message_of_another_width_is_refused(filters):
    model = SchNet(channels=8, num_layers=1, num_basis=8, conv=Narrow)
    with pytest.raises(InputError, match=r"Narrow.message must return shape \(E, F\) = \(.*, 8\)"):
        Potential(model, filters=filters)(from_ase(molecule("H2O")))


def test_options_of_a_message_need_not_be_there():
    model = SchNet(channels=8, num_layers=1, num_basis=8, conv=Simple)
    assert Potential(model)(from_ase(molecule("H2O"))).energy.isfinite().all()
