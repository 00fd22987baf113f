"""A model file is written only where it builds the same model again."""

import types
from functools import partial

import pytest
import torch
from ase.build import molecule
from torch import nn

from schnetgeo.data import from_ase
from schnetgeo.errors import InputError
from schnetgeo.nn import (
    Baseline,
    BesselBasis,
    CFConv,
    GaussianBasis,
    MeanReadout,
    PolynomialCutoff,
    RadialConv,
    SchNet,
)
from schnetgeo.potential import Potential, load

SMALL = dict(channels=4, num_layers=2, num_basis=4, cutoff=4.0)


class Own(nn.Module):
    """A model of a user, with a counter that says nothing of what it computes."""

    cutoff, max_z = None, 100

    def __init__(self, width: int = 3, slope: float = 0.5):
        super().__init__()
        self.hyperparameters = {"width": width, "slope": slope}
        self.slope, self.calls = slope, 0
        self.embedding = nn.Embedding(100, width)

    def forward(self, data):
        self.calls += 1
        return self.slope * self.embedding(data.z).sum().reshape(1)


class Gate(RadialConv):
    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis)
        self.filter = nn.Linear(num_basis, channels)

    def message(self, x_j, edge_attr):
        return x_j * self.filter(edge_attr)


def activation(model):
    for interaction in model.interactions:
        interaction.activation = nn.Tanh()


def filter_activation(model):
    model.interactions[1].conv.filter[1] = nn.SiLU()


def layer_twice(model):
    model.interactions[1] = model.interactions[0]


def one_layer_less(model):
    del model.interactions[1]


def one_part_more(model):
    model.interactions[0].dropout = nn.Dropout()


def cutoff(model):
    model.cutoff = 2.5


def gamma(model):
    model.basis.gamma = 3.0


def envelope(model):
    model.cutoff_fn.cutoff = 3.0


def readout(model):
    model.readout = MeanReadout(4, 2, type(model.readout.activation))


def embedding(model):
    model.embedding = nn.Embedding(120, 4)


def function(model):
    def forward(self, x):
        return 2 * x

    model.readout.lin2.forward = types.MethodType(forward, model.readout.lin2)


def normed(model):
    nn.utils.parametrizations.weight_norm(model.readout.lin1)


def no_bias(model):
    model.readout.lin1.bias = None


CHANGES = [
    activation, filter_activation, layer_twice, one_layer_less, one_part_more, cutoff, gamma,
    envelope, readout, embedding, function, normed, no_bias,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_was_changed_is_not_saved(change, tmp_path):
    potential = Potential(SchNet(**SMALL))
    change(potential.model)
    with pytest.raises(InputError, match="was changed after it was built"):
        potential.save(tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_an_object_that_was_changed_is_not_saved(tmp_path):
    """It is the model's own, and would be built anew from its hyperparameters."""
    potential = Potential(SchNet(channels=4, num_layers=1, basis=GaussianBasis(4, 4.0)))
    potential.save(tmp_path / "model.safetensors")
    potential.model.basis.gamma = 3.0
    with pytest.raises(InputError, match="basis: gamma is 3.0 instead of"):
        potential.save(tmp_path / "model.safetensors")


def test_what_names_the_difference(tmp_path):
    potential = Potential(SchNet(**SMALL))
    potential.model.basis.gamma = 3.0
    with pytest.raises(InputError, match=r"basis: gamma is 3.0 instead of 0\.28"):
        potential.save(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    "model",
    [
        *(lambda name=name: SchNet.preset(name, **SMALL) for name in SchNet.presets),
        lambda: SchNet(**SMALL, conv=Gate, readout=MeanReadout, activation=nn.Softplus),
        lambda: SchNet(**SMALL, conv=CFConv, gamma=2.0),
        lambda: SchNet(**SMALL, basis=BesselBasis(4, 4.0), cutoff_fn=PolynomialCutoff(4.0, 5)),
        lambda: SchNet(**SMALL, conv=partial(CFConv, last_activation=True)),
        Baseline,
        Own,
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_as_built_is_saved_after_use(model, dtype, tmp_path):
    potential = Potential(model()).to(dtype).eval()
    data = from_ase(molecule("H2O"))
    potential.train()(data)
    wanted = potential.eval()(data).energy
    state = torch.get_rng_state()
    potential.save(tmp_path / "model.safetensors")
    assert torch.equal(torch.get_rng_state(), state)
    result = load(tmp_path / "model.safetensors", classes=[Own, Gate])(data).energy
    torch.testing.assert_close(result, wanted)


def test_options_of_a_class_of_ones_own(tmp_path):
    potential = Potential(Own())
    potential.model.slope = 2.0
    with pytest.raises(InputError, match=r"slope is 2\.0 instead of 0\.5"):
        potential.save(tmp_path / "model.safetensors")


def test_arguments_that_are_missing_or_wrong(tmp_path):
    potential = Potential(Own())
    potential.model.hyperparameters = {"depth": 3}
    with pytest.raises(InputError, match=r"Own\(\*\*model.hyperparameters\) fails"):
        potential.save(tmp_path / "model.safetensors")
    del potential.model.hyperparameters
    with pytest.raises(InputError, match="no attribute `hyperparameters`"):
        potential.save(tmp_path / "model.safetensors")
