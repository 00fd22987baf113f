"""Errors of each target: by NumPy, as a table, and in the rows of results.json."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import schnetgeo as sg
from schnetgeo.data.packed import StructureDataset
from schnetgeo.errors import InputError
from schnetgeo.potential import Prediction
from schnetgeo.targets import ENERGY, FORCES, STRESS, Target, known_target
from schnetgeo.train import evaluate, predict
from schnetgeo.train.evaluation import compute_metrics
from schnetgeo.train.metrics import metrics_of
from schnetgeo.train.shown_units import column
from schnetgeo.units import GIGAPASCAL, KCAL_MOL
from tests.train.test_stress_loss import silicon, water

numbers = st.lists(st.floats(-1e3, 1e3), min_size=6, max_size=6)


@given(numbers, numbers)
def test_errors_are_those_of_numpy(label, value):
    y, p = np.array(label).reshape(2, 3), np.array(value).reshape(2, 3)
    target = known_target("dipole")
    metrics = metrics_of(target, torch.tensor(y), torch.tensor(p), None)
    assert metrics.mae == pytest.approx(np.mean(np.abs(p - y)))
    assert metrics.rmse == pytest.approx(np.sqrt(np.mean((p - y) ** 2)))
    spread = np.sum((y - y.mean(0)) ** 2)
    if spread > 1e-12:
        assert metrics.r2 == pytest.approx(1 - np.sum((p - y) ** 2) / spread)
    lengths = np.linalg.norm(y, axis=1) * np.linalg.norm(p, axis=1)
    if lengths.min() > 1e-9:
        assert metrics.cosine == pytest.approx(np.mean(np.sum(y * p, 1) / lengths))


def test_predictions_that_are_right_have_no_error():
    forces = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    metrics = metrics_of(FORCES, forces, forces, None)
    assert (metrics.mae, metrics.rmse, metrics.r2) == (0, 0, 1)
    assert metrics.cosine == pytest.approx(1)
    opposite = metrics_of(FORCES, forces, -forces, None)
    assert opposite.cosine == pytest.approx(-1)
    nothing = metrics_of(FORCES, torch.zeros(2, 3), torch.zeros(2, 3), None)
    assert (nothing.r2, nothing.cosine) == (None, None)


@pytest.fixture(scope="module")
def crystals():
    return StructureDataset.from_list([silicon(k) for k in range(3)] + [water(), water()])


@pytest.fixture(scope="module")
def potential():
    torch.manual_seed(0)
    return sg.Potential(sg.SchNet(channels=8, num_layers=1, num_basis=8)).eval()


def test_evaluation_has_every_label(potential, crystals):
    errors = evaluate(potential, crystals, batch_size=3)  # the second batch has no cell at all
    assert list(errors) == ["energy", "forces", "stress"]
    prediction = potential(crystals.batch(range(5)), stress=True)
    stress = (prediction.stress[:3] - crystals.get_property("stress")[:3]).abs().mean()
    assert errors["stress"].mae == pytest.approx(float(stress), rel=1e-5)
    assert errors["stress"].count == 3
    atoms = torch.tensor([8.0, 8, 8, 3, 3])
    energy = (prediction.energy - crystals.get_property("energy")).abs()
    assert errors["energy"].mae_per_atom == pytest.approx(float((energy / atoms).mean()))
    row = errors.as_row()
    assert row["stress_mae_GPa"] == pytest.approx(errors["stress"].mae / GIGAPASCAL)
    assert row["energy_mae_kcal_mol"] == pytest.approx(errors["energy"].mae / KCAL_MOL)
    assert row["energy_mae_per_atom_kcal_mol"] == pytest.approx(
        errors["energy"].mae_per_atom / KCAL_MOL
    )
    assert {"force_mae_kcal_mol_A", "force_rmse_kcal_mol_A", "force_cosine", "force_r2"} < {*row}


def test_predictions_of_a_data_set_are_those_of_one_batch(potential, crystals):
    batch = potential(crystals.batch(range(5)), stress=True)
    for number in (2, 5):
        parts = predict(potential, crystals, batch_size=number, stress=True)
        for ours, expected in zip(parts, batch, strict=True):
            torch.testing.assert_close(ours, expected, equal_nan=True)


def test_the_table_has_the_units_that_people_read(potential, crystals):
    lines = str(evaluate(potential, crystals)).splitlines()
    assert lines[0].split() == ["MAE", "RMSE", "R²", "cosine"]
    names = [line.split()[0] for line in lines[1:]]
    assert names == ["energy", "energy/atom", "forces", "stress"]
    for name, units in (("energy", "kcal/mol meV"), ("forces", "kcal/mol/Å meV/Å"),
                        ("stress", "GPa meV/Å³")):  # fmt: skip
        line = lines[1:][names.index(name)].split()
        assert [word for word in line[1:5] if not word[0].isdigit()] == units.split()


def test_other_targets_keep_their_unit():
    force, charge = Target("f", "e/Å", shape=(3,)), Target("q", "e", per="atom", extensive=False)
    dataset = StructureDataset.from_list([water(), water()])
    dataset.packed.f = torch.ones(2, 3)
    values = Prediction.of({"f": torch.zeros(2, 3), "q": torch.zeros(6)})
    errors = compute_metrics(values, dataset, [ENERGY, force, charge, STRESS])
    assert list(errors) == ["f"]
    assert errors.as_row() == {"f_mae": 1.0, "f_rmse": 1.0, "f_unit": "e/Å"}
    assert "1 e/Å" in str(errors)
    assert (column(force, "mae"), column(FORCES, "mae")) == ("f_mae", "force_mae_kcal_mol_A")
    with pytest.raises(InputError, match="no errors of 'energy', but of f;"):
        errors["energy"]


def test_dipoles_are_shown_in_debye():
    dataset = StructureDataset.from_list([water(), water()])
    dataset.packed.dipole = torch.ones(2, 3)
    values = Prediction.of({"dipole": torch.zeros(2, 3)})
    errors = compute_metrics(values, dataset, [known_target("dipole")])
    assert errors["dipole"].mae == 1
    assert errors.as_row()["dipole_mae_Debye"] == pytest.approx(4.803204712)
    assert "4.803 Debye" in str(errors)
    assert "1 e·Å" in str(errors)


def test_structures_without_labels_are_refused(potential):
    bare = StructureDataset.from_list([sg.from_ase(sg.to_ase(water()))])
    del bare.packed.energy, bare.packed.forces
    with pytest.raises(InputError, match="has neither energy nor forces nor stress to compare"):
        evaluate(potential, bare)
