"""Elastic constants: labels of strained cells say what the calculator that made them says."""

import json

import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

import schnetgeo as sg
from benchmarks import elastic
from schnetgeo.data.packed import StructureDataset
from schnetgeo.errors import InputError
from tests.nn.weights import randomize


def labeled(strain, a, rattled=False):
    """Copper of 2 · 2 · 2 cubic cells."""
    atoms = bulk("Cu", a=a, cubic=True) * 2
    atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
    if rattled:
        atoms.rattle(0.1)
    atoms.calc = EMT()
    labels = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    atoms.calc = SinglePointCalculator(atoms, **labels, stress=atoms.get_stress())
    return atoms


@pytest.fixture(scope="module")
def frames():
    """Stretched and sheared cells about one that is not quite at rest, and a rattled one."""
    strains = [np.zeros((3, 3))]
    for size in (-0.08, -0.04, 0.04, 0.08):
        strains.append(size * np.eye(3)[[0, 0, 0]] * [[1], [0], [0]])
        sheared = np.zeros((3, 3))
        sheared[1, :2] = size, np.sqrt(1 - size**2) - 1
        strains.append(sheared)
    cells = [labeled(strain, 3.6) for strain in strains]
    return [*cells, labeled(np.zeros((3, 3)), 3.9, rattled=True)]


def dataset(frames):
    return StructureDataset.from_list([sg.from_ase(atoms) for atoms in frames], "copper")


def test_labels_and_their_calculator_agree(frames):
    by_labels = elastic.constants_of_labels(dataset(frames), "Cu")
    by_calculator = elastic.constants_of_calculator(EMT(), "Cu")
    assert by_labels.a == pytest.approx(by_calculator.a, rel=2e-3)
    for name in ("C11", "C12", "C44"):
        assert getattr(by_labels, name) == pytest.approx(getattr(by_calculator, name), rel=0.05)
    assert 150 < by_calculator.C11 < 200
    assert 110 < by_calculator.C12 < 130
    assert 70 < by_calculator.C44 < 110


def test_cells_that_are_too_few_are_refused(frames):
    with pytest.raises(InputError, match="fewer than five cells that are sheared in xy; add such"):
        elastic.constants_of_labels(dataset(frames[:3] + frames[3:8:2]), "Cu")


def test_stress_is_the_slope_of_the_energy(frames):
    torch.manual_seed(0)
    model = randomize(sg.SchNet(channels=8, num_layers=1, num_basis=8, cutoff=4.0))
    potential = sg.Potential(model).double().eval()
    structure = sg.from_ase(frames[-1])
    assert elastic.stress_error(potential, structure) < 1e-7
    stress = potential(structure, stress=True).stress
    assert float(stress.abs().max()) > 1e-4


def test_a_table_of_models_and_labels(frames, tmp_path, capsys):
    write(tmp_path / "cu.extxyz", frames)
    model = sg.SchNet(channels=8, num_layers=1, num_basis=8, cutoff=4.0)
    potential = sg.train.new_potential(model, dataset(frames))
    potential.save(tmp_path / "model.safetensors")
    options = f"{tmp_path}/model.safetensors --data {tmp_path}/cu.extxyz --crystal Cu"
    elastic.main([*options.split(), "--out", str(tmp_path)])
    labels, row = json.loads((tmp_path / "results.json").read_text())
    assert labels["source"] == "labels of cu.extxyz"
    assert row["C11_off_percent"] == pytest.approx(100 * (row["C11"] / labels["C11"] - 1))
    assert "C44_off_percent" in capsys.readouterr().out
