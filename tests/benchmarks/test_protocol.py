"""The milestone report's protocol, on real records in the formats of the published data sets."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import schnetgeo as sg
from benchmarks import iso17, md17, qm9
from benchmarks.accuracy import milestone1 as protocol
from benchmarks.accuracy.milestone1 import STEPS
from benchmarks.milestone1 import __main__ as milestone1
from schnetgeo.data.split_methods import random_split
from schnetgeo.datasets import qm9 as qm9_module
from tests.datasets.published import iso17_database, md17_npz, qm9_files, write_tar
from tests.datasets.published import uncharacterized_txt as uncharacterized
from tests.shared_data import shared

HARTREE, KCAL_MOL = 27.211386245988, 0.0433641042418  # eV


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Ten structures to train on and five to test on, in batches of two."""
    for name, value in {"TRAIN": 10, "TEST": 5, "BATCH": 2, "STEPS": 5}.items():
        monkeypatch.setattr(protocol, name, value)


def results(folder: Path) -> list[dict]:
    return json.loads((folder / "results.json").read_text())


def write_iso17(folder: Path) -> Path:
    folder.mkdir()
    iso17_database(folder / "reference.db", slice(0, 20))
    iso17_database(folder / "test_within.db", slice(20, 25))
    iso17_database(folder / "test_other.db", slice(25, 30))
    (folder / "validation_ids.txt").write_text("2\n3\n20\n")
    return folder


def test_steps_of_the_report():
    assert STEPS == 312


def test_md17_in_kcal_mol(tmp_path, capsys):
    (tmp_path / "ethanol.npz").write_bytes(md17_npz(slice(20)))
    md17.main(f"--data {tmp_path}/ethanol.npz --protocol milestone1 --out {tmp_path}/out".split())
    rows = results(tmp_path / "out")
    assert [(r["task"], r["unit"]) for r in rows] == [
        ("energy", "kcal/mol"),
        ("forces", "kcal/mol/Å"),
        ("energy_and_forces", "(kcal/mol)² + (kcal/mol/Å)²"),
    ]
    assert [r["published"][0]["value"] for r in rows] == [25041.22, 18.02, 58639376]
    for row in rows:
        assert (row["steps"], row["stopped_by"]) == (5, "max_steps")
        assert (row["num_train"], row["num_val"], row["num_test"]) == (10, 0, 5)
        assert row["note"] == "what the model files call eV is here kcal/mol"
    table = capsys.readouterr().out
    assert re.search(
        r"\| MD17 +\| ethanol ¹ +\| baseline \| 0 +\| 10 +\| kcal/mol \| 25,041.22", table
    )
    # by hand, from the file and the model
    with np.load(tmp_path / "ethanol.npz") as file:
        energy, forces = file["E"][:, 0], file["F"]
    split = random_split(20, 10, 0, 5)
    off = energy[split.test] - energy[split.train].mean()
    squared = 0.01 * np.mean(off**2) + np.mean(np.sum(forces[split.test] ** 2, (1, 2)) / 9)
    mean = np.abs(off).mean(), np.abs(forces[split.test]).mean(), squared
    assert [r["loss_of_mean_predictor"] for r in rows] == pytest.approx(mean, rel=1e-5)
    model = sg.load(tmp_path / "out/ethanol/seed0/baseline/energy/model.safetensors")
    frames = sg.datasets.MD17(file=tmp_path / "ethanol.npz")
    loss = np.mean([
        abs(float(model(frames[int(k)]).energy) - energy[k]) for k in split.test
    ])  # fmt: skip
    assert rows[0]["loss"] == pytest.approx(loss, rel=1e-6)
    assert rows[0]["energy_mae_kcal_mol"] == pytest.approx(loss, rel=1e-6)
    assert float(model.atomic_references.values.abs().max()) == 0  # nothing was subtracted


def test_normalized_labels(tmp_path):
    (tmp_path / "ethanol.npz").write_bytes(md17_npz(slice(20)))
    command = (
        f"--data {tmp_path}/ethanol.npz --protocol milestone1 --normalize --out {tmp_path}/out"
    )
    md17.main(command.split())
    row = results(tmp_path / "out")[0]
    assert (row["model"], row["published"]) == ("baseline, normalized", [])
    with np.load(tmp_path / "ethanol.npz") as file:
        energy = file["E"][random_split(20, 10, 0, 5).train, 0]
    model = sg.load(tmp_path / "out/ethanol/seed0/baseline_normalized/energy/model.safetensors")
    z = sg.datasets.MD17(file=tmp_path / "ethanol.npz")[0].z
    assert float(model.atomic_references.values[z].sum()) == pytest.approx(energy.mean(), rel=1e-9)
    assert float(model.scale) == pytest.approx(energy.std(ddof=1), rel=1e-4)


def test_qm9_in_hartree(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(qm9_module, "SIZE", 30)
    monkeypatch.setattr(qm9_module, "UNCHARACTERIZED", 3)
    (tmp_path / "uncharacterized.txt").write_bytes(uncharacterized([2, 3, 30]))
    archive = write_tar(tmp_path / "dsgdb9nsd.xyz.tar.bz2", qm9_files(30))
    command = f"--data {archive} --root {tmp_path} --protocol milestone1 --out {tmp_path}/out"
    qm9.main([*command.split(), "--seed", "0", "1"])
    rows = results(tmp_path / "out")
    assert [(r["seed"], r["task"], r["unit"]) for r in rows] == [
        (0, "energy", "Hartree"), (1, "energy", "Hartree"),
    ]  # fmt: skip
    assert rows[0]["published"][0]["value"] == 5.64
    in_kcal_mol = rows[0]["loss"] * HARTREE / KCAL_MOL
    assert rows[0]["energy_mae_kcal_mol"] == pytest.approx(in_kcal_mol)
    assert rows[0]["split"] != rows[1]["split"]
    table = capsys.readouterr().out
    assert len(re.findall(r"\| QM9 +\| U0 ¹ +\| baseline \| [01] ", table)) == 2


def test_iso17_in_ev_from_the_reference_fold(tmp_path):
    folder = write_iso17(tmp_path / "iso17")
    options = f"--any-counts --protocol milestone1 --out {tmp_path}/out"
    iso17.main(["--data", str(folder), *options.split()])
    rows = results(tmp_path / "out")
    assert [(r["fold"], r["unit"], r["published"][0]["value"]) for r in rows] == [
        ("reference", "eV", 129.48),
        ("reference", "eV/Å", 0.82),
        ("reference", "(eV)² + (eV/Å)²", 28243.96),
    ]


@pytest.mark.slow
def test_the_whole_page(tmp_path, capsys):
    folder = write_iso17(tmp_path / "iso17")
    for name in ("a", "b"):
        (tmp_path / f"{name}.npz").write_bytes(md17_npz(slice(20)))
    command = (
        f"--molecules ethanol aspirin --md17 {tmp_path}/a.npz {tmp_path}/b.npz --iso17 {folder} "
        f"--any-counts --out {tmp_path}/out"
    )
    milestone1.main(command.split())
    rows = results(tmp_path / "out")
    assert len(rows) == 2 * 3 * 3  # normalized or not, data sets, tasks
    page = (tmp_path / "out/milestone1.md").read_text()
    table = [line for line in page.splitlines() if line.startswith("| ")]
    missing = [line for line in table if "no data here" in line]
    assert len(missing) == 12 - 3  # of the report's data sets
    assert any("QM9" in line and "5.64" in line for line in missing)
    for k in range(1, 6):
        assert f"(figure{k}.png)" in page
        assert (tmp_path / f"out/figure{k}.png").stat().st_size > 5000
    assert "want" not in page  # ISO17, ethanol and aspirin are there
    assert page.splitlines()[0] == "# The milestone report, again"
    with pytest.raises(SystemExit):
        milestone1.main(command.split())
    assert "holds results already; give --overwrite" in capsys.readouterr().err


def test_figures_for_want_of_data_say_so(tmp_path):
    (tmp_path / "a.npz").write_bytes(md17_npz(slice(20)))
    milestone1.main(f"--molecules uracil --md17 {tmp_path}/a.npz --out {tmp_path}/out".split())
    page = (tmp_path / "out/milestone1.md").read_text()
    assert "Figure 1: energies of uracil, for want of ethanol" in page
    assert "Figure 3: components of the forces of uracil, for want of ISO17" in page
    assert "figure2" not in page


@pytest.mark.parametrize(
    ("main", "options", "message"),
    [
        (md17.main, "--demo --protocol milestone2", "--protocol"),
        (md17.main, "--demo --normalize", "--normalize has no effect without --protocol"),
        (md17.main, "--demo --protocol milestone1 --lr 1", "--lr has no effect beside --protocol"),
        (md17.main, "--demo --protocol milestone1 --num-train 5", "--num-train has no effect"),
        (md17.main, "--demo --protocol milestone1 --model.channels 8", "--model.channels has no"),
        (milestone1.main, "", "no data: name files with --qm9, --md17, --iso17, or give"),
        (milestone1.main, "--molecules tea", "unknown molecule 'tea'; known: benzene"),
        (milestone1.main, "--md17 a.npz", "md17 names 1 files for 10 molecules"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys, main, options, message):
    with pytest.raises(SystemExit) as exit:
        main([*options.split(), "--out", str(tmp_path / "out")])
    error = capsys.readouterr().err
    assert exit.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_other_properties_and_too_few_structures(tmp_path, capsys):
    (tmp_path / "a.npz").write_bytes(md17_npz(slice(6)))
    for main, options, message in (
        (md17.main, f"--data {tmp_path}/a.npz", "holds 6 structures to train on; the protocol"),
        (
            qm9.main,
            f"--target mu --data {shared('qm9_all_properties.npz')}",
            "mu is in Debye: leave it away",
        ),
    ):
        with pytest.raises(SystemExit):
            main([*options.split(), "--protocol", "milestone1", "--out", str(tmp_path / "out")])
        assert message in capsys.readouterr().err
