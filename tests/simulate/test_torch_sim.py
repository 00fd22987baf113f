"""The model for torch-sim: its own conformance test, and the numbers of the calculator."""

import sys

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

import schnetgeo as sg
from schnetgeo.simulate.torch_sim import torch_sim_model
from tests.simulate.models import potential


@pytest.fixture
def torch_sim():
    return pytest.importorskip("torch_sim", reason="pip install torch-sim-atomistic")


def test_its_conformance_test(torch_sim):
    from torch_sim.models.interface import validate_model_outputs

    validate_model_outputs(torch_sim_model(potential()), torch.device("cpu"), torch.float64)


def test_numbers_of_the_calculator(torch_sim):
    of = potential()
    model, crystal, water = torch_sim_model(of), bulk("Si", cubic=True), molecule("H2O")
    crystal.rattle(0.1, seed=0)
    for atoms in (crystal, water):
        atoms.calc = sg.Calculator(of)
        state = torch_sim.io.atoms_to_state([atoms], torch.device("cpu"), torch.float64)
        state.pbc = bool(atoms.pbc.all())
        out = model(state)
        assert out["energy"].item() == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
        np.testing.assert_allclose(out["forces"], atoms.get_forces(), atol=1e-10)
        stress = atoms.get_stress(voigt=False) if atoms.pbc.all() else np.zeros((3, 3))
        np.testing.assert_allclose(out["stress"][0], stress, atol=1e-10)


def test_without_torch_sim_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_sim", None)
    monkeypatch.setitem(sys.modules, "torch_sim.models.interface", None)
    with pytest.raises(sg.InputError, match="pip install torch-sim-atomistic"):
        torch_sim_model(potential())
