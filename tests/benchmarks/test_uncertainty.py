"""The benchmark of uncertainties: what is trained, calibrated and tested on."""

import json

import ase.io
import numpy as np
import pytest

import schnetgeo as sg
from benchmarks import uncertainty
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets import Demo


def test_hotter_frames_are_neither_trained_nor_calibrated_on():
    parts = uncertainty._hotter(Demo("ethanol"), seed=0)
    energies = [part.get_property("energy") for part in parts]
    assert [len(part) for part in parts] == [len(Demo("ethanol")) - 500, 200, 300]
    assert max(energies[0].max(), energies[1].max()) <= energies[2].min()
    assert len({part.fingerprint for part in parts}) == 3


def test_degrees_are_those_of_harmonic_molecules():
    """A mean energy of (3n − 6) kT / 2 above the minimum."""
    frames = Demo("ethanol")[:200]
    structures = [s.clone() for s in frames]
    for data in structures:
        data.energy += 0.5 * (3 * 9 - 6) * 8.617333e-5 * 100
    hot = StructureDataset.from_list(structures)
    parts = uncertainty.Parts(frames, frames, hot)
    assert uncertainty._kelvin_above(parts) == pytest.approx(100, rel=1e-4)


def test_errors_of_exact_deviations_rank_as_said():
    std = np.random.default_rng(1).uniform(0.5, 2.0, 2000)
    assert 0.2 < uncertainty._exact_spearman(std) < 0.6
    assert abs(uncertainty._exact_spearman(1 + 1e-9 * std)) < 0.02


def test_a_row_for_each_way_to_calibrate(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(uncertainty, "NUM_VAL", 20)
    monkeypatch.setattr(uncertainty, "NUM_TEST", 20)
    ase.io.write(tmp_path / "own.extxyz", [sg.to_ase(data) for data in Demo("ethanol")[:100]])
    options = f"--data {tmp_path}/own.extxyz --max-steps 3 --out {tmp_path}/out".split()
    uncertainty.main(options)
    uncertainty.main([*options, "--resume"])
    rows = json.loads((tmp_path / "out/results.json").read_text())
    assert [row["tested"] for row in rows] == ["held out", "hotter", "hotter, calibrated on such"]
    assert [(row["num_train"], row["num_val"], row["num_test"]) for row in rows] == [
        (60, 20, 20), (60, 20, 20), (60, 10, 10),
    ]  # fmt: skip
    assert rows[1]["kelvin_above"] > 100
    assert rows[0]["forces_error_over_std"] > 0
    assert "hotter, calibrated on such" in capsys.readouterr().out
