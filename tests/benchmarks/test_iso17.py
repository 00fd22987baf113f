"""The ISO17 benchmark from the command line to the files it writes."""

import json

import pytest

from benchmarks.accuracy import runs
from benchmarks.iso17 import main
from schnetgeo.datasets import ISO17
from schnetgeo.datasets.iso17 import mean_predictor_errors
from schnetgeo.train import fit
from schnetgeo.units import KCAL_MOL
from tests.datasets.published import iso17_database

FEW = (
    "--num-train 12 --num-val 2 --max-steps 10 --validate-every 5 --any-counts "
    "--model.channels 8 --model.num-layers 1 --model.num-basis 8 --progress false"
)
ROWS = {
    "reference": slice(0, 20),
    "test_within": slice(20, 25),
    "test_other": slice(25, 32),
    "test_eq": slice(32, 34),
}


@pytest.fixture
def folder(tmp_path):
    """The files of the archive, with a few structures in each fold."""
    for fold, rows in ROWS.items():
        iso17_database(tmp_path / f"{fold}.db", rows)
    (tmp_path / "validation_ids.txt").write_text("2\n3\n20\n")
    return tmp_path


def run(command: str, folder) -> list[dict]:
    main([*FEW.split(), "--data", str(folder), "--out", str(folder / "out"), *command.split()])
    return json.loads((folder / "out" / "results.json").read_text())


def test_one_training_is_tested_on_each_fold(folder, monkeypatch):
    trainings = []
    monkeypatch.setattr(runs, "fit", lambda *a: trainings.append(a) or fit(*a))
    rows = run("--models mean SchNet", folder)
    assert [(row["model"], row["fold"], row["num_test"]) for row in rows] == [
        ("mean predictor", "test_within", 5), ("mean predictor", "test_other", 7),
        ("SchNet", "test_within", 5), ("SchNet", "test_other", 7),
    ]  # fmt: skip
    assert len(trainings) == 1
    assert rows[2]["seconds"] == rows[3]["seconds"]
    assert [n["value"] for n in rows[3]["published"]] == [15.54, 2.40, 19.15, 2.18]
    rows = run("--models mean SchNet --folds test_within test_eq", folder)
    assert len(trainings) == 1
    assert [(row["model"], row["fold"]) for row in rows[:4]] == [
        ("mean predictor", "test_within"), ("mean predictor", "test_eq"),
        ("SchNet", "test_within"), ("SchNet", "test_eq"),
    ]  # fmt: skip


def test_mean_predictor_is_that_of_the_fold(folder):
    row = run("--models mean --folds test_other --num-train 17 --num-val 0", folder)[0]
    reference = ISO17(file=folder, fold=["reference", "test_other"], check_counts=False)
    energy = float(reference.get_property("energy")[reference.pools.train].mean())
    other = ISO17(file=folder, fold="test_other", check_counts=False)
    expected = mean_predictor_errors(other, energy)
    assert row["energy_mae_kcal_mol"] == pytest.approx(expected.energy_mae / KCAL_MOL)
    assert row["force_rmse_kcal_mol_A"] == pytest.approx(expected.force_rmse / KCAL_MOL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--folds within", "fold 'within' of ISO17 is none to test on, or named twice; known: "
         "reference_eq, test_within, test_other, test_eq"),
        ("--folds reference", "fold 'reference' of ISO17 is none to test on"),
        ("--num-train 18", "18 structures asked for where 17 are published for train"),
        ("--any-counts false", "where 404000 are known"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(folder, capsys, options, message):
    with pytest.raises(SystemExit) as exit:
        run(options, folder)
    error = capsys.readouterr().err
    assert exit.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "out").exists()
