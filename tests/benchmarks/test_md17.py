"""The MD17 benchmark from the command line to the files it writes."""

import html.parser
import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import schnetgeo as sg
from benchmarks.md17 import main
from schnetgeo.data.split import Split
from schnetgeo.datasets import MD17, Demo
from schnetgeo.train import PotentialModule, evaluate
from schnetgeo.units import KCAL_MOL
from tests.shared_data import shared

FEW = (
    "--num-train 40 --num-val 10 --num-test 50 --max-steps 20 --validate-every 10 "
    "--model.channels 8 --model.num-layers 1 --model.num-basis 8 --progress false"
)
KEYS = {
    "dataset", "molecule", "model", "task", "seed", "num_train", "num_val", "num_test",
    "parameters", "steps", "stopped_by", "seconds", "compile_seconds", "hardware", "versions",
    "energy_mae_kcal_mol", "energy_rmse_kcal_mol", "energy_mae_per_atom_kcal_mol", "energy_r2",
    "force_mae_kcal_mol_A", "force_r2",
    "force_rmse_kcal_mol_A", "published", "split", "note",
}  # fmt: skip
MODELS = ["mean predictor", "linear composition", "baseline", "SchNet"]


def run(command: str) -> None:
    main(command.split())


def results(folder: Path) -> list[dict]:
    return json.loads((folder / "results.json").read_text())


def numbers(folder: Path) -> list[dict]:
    """What must not depend on when and where it was computed."""
    return [{k: v for k, v in r.items() if "seconds" not in k} for r in results(folder)]


def write_md17(path: Path, without=()) -> None:
    """200 frames of Demo's ethanol in the layout of the published files, kcal/mol."""
    frames = Demo("ethanol")[:200]
    arrays = dict(
        z=frames[0].z.numpy().astype(np.uint8),
        R=frames.get_property("pos").reshape(200, 9, 3).numpy(),
        E=frames.get_property("energy").reshape(200, 1).numpy() / KCAL_MOL,
        F=frames.get_property("forces").reshape(200, 9, 3).numpy() / KCAL_MOL,
        name="ethanol",
    )
    np.savez(path, **{k: v for k, v in arrays.items() if k not in without})


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A finished run on the demo data."""
    folder = tmp_path_factory.mktemp("demo")
    run(f"--demo --out {folder} {FEW}")
    return folder


@pytest.fixture(scope="module")
def ethanol(tmp_path_factory):
    """A finished run on a file in the layout of MD17."""
    folder = tmp_path_factory.mktemp("ethanol")
    write_md17(folder / "md17_ethanol.npz")
    run(f"--molecules ethanol --data {folder}/md17_ethanol.npz --out {folder}/out {FEW}")
    return folder


def test_results_have_the_keys_of_the_contract(demo):
    rows = results(demo)
    assert [row["model"] for row in rows] == MODELS
    for row in rows:
        has_forces = row["stopped_by"] != "closed form"  # forces of zero have no direction
        assert set(row) == KEYS | ({"force_cosine"} if has_forces else set())
        assert (row["num_train"], row["num_val"], row["num_test"]) == (40, 10, 50)
        assert (row["task"], row["seed"]) == ("energy_and_forces", 0)
        assert row["published"] == []  # GFN2-xTB is not the level of theory of the papers
        assert row["split"] == Split.load(demo / "split.npz").digest
        assert row["note"].startswith("frames of a trajectory were split at random")
        assert row["hardware"]
        assert {"python", "schnetgeo", "torch", "torch-geometric"} <= set(row["versions"])
    assert [row["stopped_by"] for row in rows] == ["closed form"] * 2 + ["max_steps"] * 2
    assert [row["steps"] for row in rows] == [0, 0, 20, 20]
    assert [row["parameters"] for row in rows[::2]] == [1, 1160]


def test_report_says_how_it_was_split(demo):
    assert "errors are those of interpolation" in (demo / "report.html").read_text()


def test_files_beside_the_results(demo):
    for name in ("model.safetensors", "report.html", "picture.png", "split.npz"):
        assert (demo / name).stat().st_size > 0


def test_schnet_row_is_the_saved_model_on_the_test_frames(demo):
    test = Demo("ethanol")[Split.load(demo / "split.npz").test]
    errors = evaluate(sg.load(demo / "model.safetensors"), test).as_row()
    assert {k: results(demo)[3][k] for k in errors} == pytest.approx(errors, rel=1e-6)


def test_mean_predictor_by_hand(demo):
    with np.load(Path(sg.__file__).parent / "datasets/demo/ethanol.npz") as file:
        energy, forces = file["E"], file["F"].astype(float)
    split = Split.load(demo / "split.npz")
    error = energy[split.test] - energy[split.train].mean()
    row = results(demo)[0]
    kcal_mol = 0.0433641042418
    assert row["energy_mae_kcal_mol"] == pytest.approx(np.abs(error).mean() / kcal_mol)
    assert row["energy_rmse_kcal_mol"] == pytest.approx(np.sqrt((error**2).mean()) / kcal_mol)
    zero = np.abs(forces[split.test]).mean() / kcal_mol
    assert row["force_mae_kcal_mol_A"] == pytest.approx(zero, rel=1e-6)


def test_one_composition_makes_the_linear_model_the_mean(demo):
    mean, linear, *_ = results(demo)
    assert linear["energy_mae_kcal_mol"] == pytest.approx(mean["energy_mae_kcal_mol"], rel=1e-6)


def test_same_seed_same_numbers(demo, tmp_path):
    run(f"--demo --out {tmp_path} {FEW}")
    assert numbers(tmp_path) == numbers(demo)


def test_another_seed_other_numbers(demo, tmp_path):
    run(f"--demo --out {tmp_path} --seed 1 {FEW}")
    for row, other in zip(results(demo), results(tmp_path), strict=True):
        assert row["energy_mae_kcal_mol"] != other["energy_mae_kcal_mol"]


def test_ethanol_is_compared_with_the_papers(ethanol):
    rows = results(ethanol / "out")
    assert [len(row["published"]) for row in rows[:3]] == [0, 0, 0]
    assert {"SchNet", "PaiNN", "GDML"} < {number["model"] for number in rows[3]["published"]}
    for number in rows[3]["published"]:
        assert set(number) == {
            "value", "quantity", "unit", "model", "num_train", "split", "source", "mark",
        }  # fmt: skip
    first = rows[3]["published"][0]
    assert (first["value"], first["unit"]) == (0.08, "kcal/mol")


def test_table_has_the_published_rows(ethanol, tmp_path, capsys):
    run(f"--data {ethanol}/md17_ethanol.npz --out {tmp_path} {FEW}")
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len({len(line) for line in table}) == 1
    assert len(table) == 2 + 4 + 5
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert [line[1] for line in cells[2:6]] == MODELS
    assert "published: SchNet" in cells[6][1]
    assert cells[6][2:4] == ["0.080 (3.5)", "0.390 (16.9)"]
    models = [line[1].removeprefix("published: ").partition(",")[0] for line in cells[6:]]
    assert models == ["SchNet", "PaiNN", "PaiNN", "ViSNet", "QuinNet"]
    assert cells[7][2:4] == ["0.062 (2.7)", "0.231 (10.0)"]
    assert cells[8][2:4] == ["0.064 (2.8)", "0.224 (9.7)"]
    assert cells[9][1].endswith("(repeated)")


def test_report_opens_without_a_network(ethanol):
    text = (ethanol / "out" / "report.html").read_text()
    loads = []

    class Loads(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            loads.extend(v for k, v in attributes if k in ("src", "href"))

    Loads().feed(text)
    assert not [url for url in loads if not url.startswith(("data:", "#"))]
    assert not re.search(r"@import|url\(", text)
    assert text.startswith("<!doctype html>")
    for name in [*MODELS, "published: SchNet", "<td>GDML</td>", "arXiv:1706.08566"]:
        assert name in text


def test_energies_alone(tmp_path):
    write_md17(tmp_path / "e.npz", without=("F",))
    run(f"--data {tmp_path}/e.npz --task energy --out {tmp_path}/out {FEW}")
    rows = results(tmp_path / "out")
    assert [row["model"] for row in rows] == MODELS
    for row in rows:
        assert set(row) == {key for key in KEYS if not key.startswith("force")}
    assert rows[3]["published"][0]["value"] == 0.93


def test_several_molecules_in_folders_of_their_own(ethanol, tmp_path):
    file = ethanol / "md17_ethanol.npz"
    run(f"--molecules ethanol other --data {file} {file} --out {tmp_path} {FEW}")
    assert [row["molecule"] for row in results(tmp_path)] == ["ethanol"] * 4 + ["other"] * 4
    text = (tmp_path / "report.html").read_text()
    assert "<title>Benchmark: MD17, other</title>" in text  # the second is nobody's data set
    for molecule in ("ethanol", "other"):
        assert (tmp_path / molecule / "model.safetensors").exists()


def test_what_a_file_says_of_its_labels_stands_in_the_table(tmp_path, capsys):
    file = shared("md17_recovered_ethanol.npz")
    run(f"--data {file} --models mean --out {tmp_path} {FEW}")
    assert "| ethanol ¹ | mean predictor" in (out := capsys.readouterr().out)
    assert "\n¹ labels are PBE+vdW-TS (MD17), recovered from sGDML model\n" in out


def test_interrupted_run_resumes_to_the_same_numbers(demo, tmp_path, monkeypatch):
    end_of_step = PotentialModule.on_train_batch_end

    def interrupt(self, *args):
        end_of_step(self, *args)
        if isinstance(self.potential.model, sg.SchNet) and self.global_step == 13:
            raise KeyboardInterrupt

    command = f"--demo --out {tmp_path} --checkpoint-every 5 {FEW}"
    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(PotentialModule, "on_train_batch_end", interrupt)
    with pytest.raises(SystemExit):
        run(command)
    monkeypatch.undo()
    signal.signal(signal.SIGINT, handler)  # which Lightning has switched off
    assert not (tmp_path / "results.json").exists()
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert 10 <= checkpoint["global_step"] <= 13
    run(f"{command} --resume")
    assert numbers(tmp_path) == numbers(demo)


def test_finished_run_is_not_overwritten(tmp_path, capsys):
    command = f"--demo --out {tmp_path} --checkpoint-every 10 {FEW}"
    run(command)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(SystemExit) as exit:
        run(f"{command} --seed 1")
    assert exit.value.code == 2
    assert "holds a training already" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--molecules tea", "unknown molecule 'tea'; known: benzene"),
        ("--molecules ethanol uracil --data a.npz", "data names 1 files for 2 molecules"),
        ("--data lost.npz", "lost.npz: no such file"),
        ("--demo --num-train 1190", "no frame is left to test on; lower num_train"),
        ("--demo --num-train 1200", "cannot split 1200 structures into num_train=1200"),
        ("--demo --task heat", "--task"),
        ("--demo --device abacus", "--device: Expected one of 'auto', 'cpu', 'cuda'"),
        ("--demo --data a.npz", "leave --demo or --data away"),
        ("--demo --model.max-z 7", "Demo ethanol, structure 0: z[2] = 8 is not an atomic number"),
        ("--demo --model.channels 0", "channels must be at least 1, got 0"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys, options, message):
    few = FEW.replace("--num-test 50 ", "")
    with pytest.raises(SystemExit) as exit:
        run(f"--out {tmp_path}/out {few} {options}")
    error = capsys.readouterr().err
    assert exit.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_version(capsys):
    with pytest.raises(SystemExit) as exit:
        run("--version")
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"schnetgeo {sg.__version__}\n"


@pytest.mark.parametrize(("missing", "task"), [("E", "forces"), ("F", "energy_and_forces")])
def test_missing_labels_are_refused(tmp_path, capsys, missing, task):
    write_md17(tmp_path / "part.npz", without=(missing,))
    units = "--force-unit kcal/mol/Angstrom" if missing == "E" else "--energy-unit kcal/mol"
    with pytest.raises(SystemExit) as exit:
        run(f"--data {tmp_path}/part.npz --out {tmp_path}/out --task {task} {units} {FEW}")
    assert exit.value.code == 2
    assert re.search(r"part\.npz: .*(no energy|no forces)", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_the_file_for_the_tests_is_md17s(ethanol):
    own = MD17(file=ethanol / "md17_ethanol.npz")
    torch.testing.assert_close(
        own.get_property("energy"), Demo("ethanol")[:200].get_property("energy")
    )
