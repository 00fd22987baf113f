"""Charges and spins that no model reads are noted once."""

import warnings

import pytest
import torch
from torch import nn

from schnetgeo.data import Structure
from schnetgeo.data.packed import StructureDataset
from schnetgeo.errors import InputError
from schnetgeo.nn import SchNet
from schnetgeo.notes import DataNote
from schnetgeo.potential import Potential
from schnetgeo.train.fit import cover


def oxygen(distance=1.2, energy=-4.0, **states):
    return Structure(
        z=torch.tensor([8, 8]),
        pos=torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, distance]]),
        energy=torch.tensor([energy], dtype=torch.float64),
        **{name: torch.tensor([value]) for name, value in states.items()},
    )


def small():
    return Potential(SchNet(channels=4, num_layers=1, num_basis=4, cutoff=3.0)).eval()


@pytest.mark.parametrize(
    ("states", "text"),
    [
        ({"charge": -2}, "charge -2 is no input of SchNet"),
        ({"charge": 0.5}, "charge 0.5 is"),
        ({"spin": 3}, "spin 3 is"),
        ({"charge": 1, "spin": 2}, "charge 1 and spin 2 are no input of SchNet"),
    ],
)
def test_prediction_is_noted_once(states, text):
    potential = small()
    with pytest.warns(DataNote, match=text):
        potential(oxygen(**states))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        potential(oxygen(**states))


@pytest.mark.parametrize("states", [{}, {"charge": 0, "spin": 0}, {"charge": 0.0, "spin": 1}])
def test_closed_shells_are_not_noted(states):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        potential = small()
        potential(oxygen(**states))
        cover(potential, StructureDataset.from_list([oxygen(**states)]))


class Charged(nn.Module):
    """A model of one's own, which may read what it likes."""

    cutoff, max_z = None, 20

    def forward(self, data):
        return data.charge.double() * data.pos.sum()


def test_own_models_are_not_noted():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Potential(Charged()).eval()(oxygen(charge=1))


def test_training_refuses_geometries_with_several_energies():
    neutral, anion = oxygen(charge=0), oxygen(charge=-1, energy=-4.5)
    others = [oxygen(1.3, charge=-1), oxygen(1.4, charge=0), oxygen(1.4, charge=0)]
    train = StructureDataset.from_list([neutral, anion, *others], name="oxygen.xyz")
    text = "oxygen.xyz: charge -1 is no input of SchNet, but geometries, 1 of them, have several"
    with pytest.raises(InputError, match=text):
        cover(small(), train)
    with pytest.warns(DataNote, match="differ in nothing else; train on one charge") as noted:
        cover(small(), train[1:3])
    assert len(noted) == 1


def test_copies_with_other_energies_are_noted():
    alike = [oxygen(), oxygen(energy=-3.0), oxygen(distance=1.3)]
    with pytest.warns(DataNote, match="1 geometries have several energies, such as structures 0 a"):
        cover(small(), StructureDataset.from_list(alike))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cover(small(), StructureDataset.from_list([oxygen(), oxygen(), oxygen(distance=1.3)]))
