"""Layers and models that return other shapes: an error that says so, never other numbers."""

import types

import pytest
from torch import nn

from schnetgeo.errors import InputError
from schnetgeo.nn import CFConv, RadialConv, SchNet
from schnetgeo.potential import Potential
from tests.engine.potentials import SIZES, methanol, potential_of


class Wide(RadialConv):
    """A filter of one channel too many."""

    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis)
        self.filter = nn.Linear(num_basis, channels + 1)

    def message(self, W):
        return W


class Narrow(Wide):
    """A message of one channel, which would be repeated for all."""

    def message(self, W):
        return W[:, :1]


class Half(CFConv):
    """A layer that leaves channels out."""

    def forward(self, x, edges):
        return super().forward(x, edges)[:, :4]


class OneAtom(SchNet):
    """The values of one atom, which would count for all."""

    def atomic_values(self, z, edges):
        return super().atomic_values(z, edges)[:1]


class Column(SchNet):
    """A column, which would be combined with each other atom."""

    def atomic_values(self, z, edges):
        return super().atomic_values(z, edges).unsqueeze(1)


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (lambda: SchNet(**SIZES, conv=Wide), InputError, "Wide.message must return shape"),
        (lambda: SchNet(**SIZES, conv=Narrow), InputError, "Narrow.message must return shape"),
        (lambda: SchNet(**SIZES, conv=Half), RuntimeError, "shapes cannot be multiplied"),
        (lambda: OneAtom(**SIZES), InputError, "must return a row for each of 6 atoms, got shape"),
        (lambda: Column(**SIZES), InputError, "shape"),
    ],
    ids=["wide", "narrow", "half", "one atom", "column"],
)
@pytest.mark.parametrize("filters", ["spline", "exact"])
def test_wrong_shapes(model, error, message, filters):
    with pytest.raises(error, match=message):
        Potential(model(), filters=filters)(methanol())


def test_a_layer_that_returns_another_shape_after_a_prediction():
    potential = potential_of()
    potential(methanol())
    conv = potential.model.interactions[0].conv
    conv.message = types.MethodType(lambda self, x_j, W: (x_j * W)[:, :1], conv)
    with pytest.raises(InputError, match="CFConv.message must return shape"):
        potential(methanol())


@pytest.mark.parametrize("part", ["readout", "embedding", "interactions.0.conv.filter", ""])
def test_a_part_that_moved_to_another_device_after_a_prediction(part):
    potential = potential_of()
    potential(methanol())
    potential.model.get_submodule(part).to("meta")
    with pytest.raises((RuntimeError, InputError), match="device"):
        potential(methanol())
