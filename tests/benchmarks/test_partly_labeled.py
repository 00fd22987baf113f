"""Benchmarks of data where some structures lack a label: they count where they have one."""

import json
import math

import ase.io
import numpy as np
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator

import schnetgeo as sg
from benchmarks.accuracy.details import details
from benchmarks.accuracy.models import composition_model, mean_predictor
from benchmarks.md17 import main
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets import Demo
from schnetgeo.potential import Prediction
from schnetgeo.train.evaluation import compute_metrics

FEW = (
    "--num-train 20 --num-val 10 --max-steps 2 --validate-every 2 --model.channels 8 "
    "--model.num-layers 1 --model.num-basis 8 --progress false"
)


@pytest.fixture
def data() -> StructureDataset:
    """Sixty molecules: each third lacks its energy, each fourth its forces."""
    structures = list(Demo("molecules")[:60])
    for data in structures[::3]:
        data.energy = None
    for data in structures[::4]:
        data.forces = None
    return StructureDataset.from_list(structures)


def with_labels(data: StructureDataset) -> tuple[torch.Tensor, torch.Tensor]:
    """Which structures have energies, which have forces."""
    number = torch.arange(len(data))
    return number % 3 != 0, number % 4 != 0


def test_closed_forms_are_of_the_energies_that_there_are(data):
    energy, _ = with_labels(data)
    whole = data[energy.nonzero().flatten()]
    for solve in (mean_predictor, composition_model):
        torch.testing.assert_close(solve(data, data).values, solve(whole, data).values)
        assert solve(data, data).values.isfinite().all()


def test_the_report_draws_the_labels_that_there_are(data):
    energy, forces = with_labels(data)
    predicted = Prediction(
        torch.zeros(60, dtype=torch.float64), torch.zeros(len(data.get_property("pos")), 3)
    )
    drawn = details(predicted, data, data)
    json.dumps(drawn, allow_nan=False)
    assert sum(drawn["energy"]["histogram"]) + drawn["energy"]["outside"] == int(energy.sum())
    assert sum(count for _, _, count in drawn["by_size"]) == int(energy.sum())
    atoms = int(data.num_atoms[forces].sum())
    assert sum(count for _, _, count in drawn["by_element_forces"]) == atoms
    for structure in drawn["worst"]:
        assert ("energy_error" in structure) == bool(energy[structure["index"]])
        assert forces[structure["index"]]


def test_test_structures_without_any_energy(data):
    energy, _ = with_labels(data)
    test = data[(~energy).nonzero().flatten()]
    predicted = Prediction(torch.zeros(len(test), dtype=torch.float64), None)
    assert compute_metrics(predicted, test) == {}
    assert "energy" not in details(predicted, test, data)


@pytest.mark.slow
@pytest.mark.parametrize(
    "protocol", ["", "--protocol milestone1", "--protocol milestone1 --normalize"]
)
def test_a_benchmark_of_partly_labeled_frames(tmp_path, protocol):
    frames = []
    for k, data in enumerate(Demo("ethanol")[:200]):
        atoms = sg.to_ase(data)
        labels = {"energy": float(data.energy)} if k % 3 else {}
        if k % 4:
            labels["forces"] = data.forces.numpy().astype(np.float64)
        atoms.calc = SinglePointCalculator(atoms, **labels)
        frames.append(atoms)
    ase.io.write(tmp_path / "frames.extxyz", frames)
    data, out = f"--molecules mine --data {tmp_path / 'frames.extxyz'}", tmp_path / "out"
    main([*data.split(), *(protocol or FEW).split(), "--out", str(out)])
    rows = json.loads((out / "results.json").read_text())
    for row in rows:
        assert row["stopped_by"] != "diverged"
        numbers = [row["energy_mae_kcal_mol"], row["force_mae_kcal_mol_A"]]
        numbers += [row["loss"], row["loss_of_mean_predictor"]] if protocol else []
        assert all(map(math.isfinite, numbers))
