"""schnetgeo query over labels and predictions."""

import numpy as np
import pytest

import schnetgeo as sg
from schnetgeo.cli import main
from schnetgeo.datasets import AtomsFile, Demo
from schnetgeo.simulate import predict_batches
from tests.simulate.models import potential


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sg.datasets.write.write_dataset("in.extxyz", [Demo("molecules")[::9]])
    potential().save("model.safetensors")
    return tmp_path


def run(condition, options):
    main(["query", condition, *options.split()])


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main([*arguments])
    assert end.value.code == 2
    return capsys.readouterr().err


def test_labels(here, capsys):
    dataset = AtomsFile("in.extxyz")
    energies = dataset.get_property("energy").numpy()
    limit = float(np.median(energies))
    condition = f"energy < {limit!r} and num_atoms > 9"
    options = "--data in.extxyz --out a.extxyz --picture a.png --sort energy --descending"
    run(condition, options)
    out = capsys.readouterr().out
    chosen = (energies < limit) & (dataset.num_atoms.numpy() > 9)
    assert f"{chosen.sum()} of {len(dataset)} structures" in out
    expected = np.sort(energies[chosen])[::-1]
    written = AtomsFile("a.extxyz")
    np.testing.assert_allclose(written.get_property("energy"), expected)
    assert (here / "a.png").stat().st_size > 10_000


def test_predictions_take_the_place_of_labels(here, capsys):
    dataset = AtomsFile("in.extxyz")
    energies = predict_batches(potential(), dataset, forces=False)["energy"].numpy()
    limit = float(np.sort(energies)[10]) + 1e-6
    run(f"energy < {limit!r}", "--data in.extxyz --model model.safetensors")
    assert f"11 of {len(dataset)} structures" in capsys.readouterr().out


def test_nothing_found_and_what_is_refused(here, capsys):
    run("num_atoms > 500", "--data in.extxyz")
    assert f"0 of {len(AtomsFile('in.extxyz'))} structures" in capsys.readouterr().out
    text = refused(capsys, "query", "gap > 6", "--data", "in.extxyz")
    assert "condition: unknown name 'gap'; known: energy" in text
    assert "give files with --data" in refused(capsys, "query", "gap > 6")
    text = refused(capsys, "query", "__import__('os')", "--data", "in.extxyz")
    assert "is none of numbers, names" in text
