"""Charge and spin as inputs of a model."""

import warnings

import pytest
import torch
from ase.build import molecule
from torch_geometric.data import Batch

import schnetgeo as sg
from schnetgeo.data.packed import StructureDataset
from schnetgeo.nn import StateEmbedding
from schnetgeo.train import new_potential
from tests.nn.weights import randomize


def of_state(name="CH3OH", **states):
    atoms = molecule(name)
    atoms.rattle(0.1, seed=0)
    return sg.from_ase(atoms).update({k: torch.tensor([v]) for k, v in states.items()})


def potential(kind=sg.SchNet):
    model = kind(channels=8, num_layers=1, num_basis=8, state_embedding=StateEmbedding)
    return sg.Potential(randomize(model).double()).eval()


@pytest.mark.parametrize("kind", [sg.SchNet, sg.PaiNN])
def test_states_have_energies_of_their_own(kind):
    of = potential(kind)
    states = [{}, {"charge": 1}, {"charge": -1}, {"spin": 2}, {"charge": 1, "spin": 2}]
    energies = [of(of_state(**state)).energy.item() for state in states]
    assert len({round(energy, 6) for energy in energies}) == len(states)
    assert of(of_state(charge=0, spin=0)).energy.item() == energies[0]
    together = Batch.from_data_list([of_state(charge=c, spin=2) for c in (0, 1)])
    torch.testing.assert_close(of(together).energy[1].item(), energies[-1], rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", [sg.SchNet, sg.PaiNN])
def test_ions_are_physical(kind):
    names = ("H2O", "CH3CONH2", "H2")
    ions = [of_state(name, charge=1.0, spin=-1.0) for name in names]
    report = sg.testing.check_potential(potential(kind), ions)
    notes = {result.name: result.note for result in report.results}
    assert "has a state_embedding, which shares" in notes["fast path"]


def test_a_charge_is_shared_out():
    """The atoms of a structure have fractions of what one atom alone would have."""
    embedding = randomize(StateEmbedding(4)).double()
    x, batch = torch.randn(3, 4, dtype=torch.float64), torch.tensor([0, 0, 1])
    states = sg.nn.state_embedding.States(torch.tensor([2.0, 2.0]).double(), torch.zeros(2), batch)
    first, second, alone = embedding(x, states._replace(spin=states.charge * 0))
    torch.testing.assert_close(first + second, alone)


def test_models_that_read_states_say_nothing_of_them(tmp_path):
    of = potential()
    of.save(tmp_path / "model.safetensors")
    loaded = sg.load(tmp_path / "model.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loaded(of_state(charge=1)).energy.equal(of(of_state(charge=1)).energy)


def test_a_calculator_reads_them():
    of = potential()
    atoms = molecule("CH3OH", calculator=sg.Calculator(of))
    atoms.rattle(0.1, seed=0)
    neutral = atoms.get_potential_energy()
    atoms.info["charge"] = 1
    assert atoms.get_potential_energy() == pytest.approx(of(of_state(charge=1)).energy.item())
    del atoms.info["charge"]
    assert atoms.get_potential_energy() == neutral


@pytest.mark.slow
def test_it_trains(tmp_path):
    structures = [of_state(charge=c) for c in (-1, 0, 1)] * 4
    for k, data in enumerate(structures):
        data.energy = torch.tensor([0.5 * (k % 3)], dtype=torch.float64)
    train = StructureDataset.from_list(structures)
    model = sg.SchNet(channels=8, num_layers=1, num_basis=8, state_embedding=StateEmbedding)
    training = sg.train.TrainingConfig(task="energy", max_steps=300, batch_size=12, lr=1e-2)
    begun = new_potential(model, train)
    fitted = sg.train.fit(begun, train, train, training, tmp_path / "out").potential
    errors = sg.train.evaluate(fitted, train)
    assert errors["energy"].mae < 0.05  # 0.33 without
