"""What modules were built with is recorded, whoever wrote their class."""

import copy
import pickle
from functools import partial

import pytest
import torch
from torch import nn

from schnetgeo.nn import CFConv, Configurable, GaussianBasis, PaiNN, SchNet


class Waves(Configurable):
    """Basis functions of a user."""

    def __init__(self, num_basis, cutoff=4.0):
        super().__init__()
        self.num_basis, self.cutoff = num_basis, cutoff


class Small(SchNet):
    def __init__(self, factor: int, *, cutoff: float = 3.0, **others):
        super().__init__(channels=4 * factor, num_layers=1, cutoff=cutoff, **others)


class Smaller(Small):
    def __init__(self):
        super().__init__(1)


def test_defaults_are_recorded():
    assert GaussianBasis(8, 4.0).hyperparameters == {"num_basis": 8, "cutoff": 4.0, "gamma": None}
    assert Waves(3).hyperparameters == {"num_basis": 3, "cutoff": 4.0}
    assert PaiNN(8).hyperparameters["activation"] is nn.SiLU


def test_subclasses_record_their_own_arguments():
    model = Small(2, num_basis=6)
    assert model.hyperparameters == {"factor": 2, "cutoff": 3.0, "num_basis": 6}
    assert Smaller().hyperparameters == {}
    again = type(model)(**model.hyperparameters)
    assert [p.shape for p in again.parameters()] == [p.shape for p in model.parameters()]


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_record_the_same(again):
    model = Small(2, conv=partial(CFConv, last_activation=True))
    found = again(model).hyperparameters
    assert found.keys() == model.hyperparameters.keys()
    assert found["conv"].keywords == {"last_activation": True}


def test_a_copy_has_its_own_basis():
    model = SchNet(channels=4, num_layers=1, basis=GaussianBasis(4, 5.0))
    other = copy.deepcopy(model)
    assert other.hyperparameters["basis"] is other.basis is not model.basis


def test_python_says_what_is_wrong():
    with pytest.raises(TypeError, match=r"Waves.__init__\(\) missing 1 required"):
        Waves()
    with pytest.raises(TypeError, match=r"SchNet.__init__\(\) got an unexpected .*'layers'"):
        SchNet(layers=3)


def test_it_is_no_part_of_the_weights():
    model = SchNet(channels=4, num_layers=1, basis=GaussianBasis(4, 5.0))
    assert not any("hyperparameters" in name for name, _ in model.named_modules())
    assert len(model.state_dict()) == len(SchNet(channels=4, num_layers=1).state_dict())
    assert all(torch.is_tensor(value) for value in model.state_dict().values())
