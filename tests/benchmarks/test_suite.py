"""The engine that the benchmarks share: several cases, finished rows, divergence, own models."""

import json
import re
import signal
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import schnetgeo as sg
from benchmarks import literature
from benchmarks.accuracy import runs
from benchmarks.md17 import main
from schnetgeo.nn import Baseline
from schnetgeo.train import PotentialModule, fit

FEW = (
    "--demo --num-val 10 --num-test 50 --max-steps 20 --validate-every 10 --model.channels 8 "
    "--model.num-layers 1 --model.num-basis 8 --progress false"
)


def run(command: str, folder: Path) -> list[dict]:
    main([*FEW.split(), *command.split(), "--out", str(folder)])
    return json.loads((folder / "results.json").read_text())


@pytest.fixture
def trainings(monkeypatch):
    """The folders that trainings of this test are made in."""
    folders = []

    def counted(*arguments):
        folders.append(arguments[4])
        return fit(*arguments)

    monkeypatch.setattr(runs, "fit", counted)
    return folders


def test_sizes_and_seeds_are_cases_of_their_own(tmp_path):
    rows = run("--models mean SchNet --num-train 20 40 --seed 0 1", tmp_path)
    experiments = [(row["num_train"], row["seed"], row["model"]) for row in rows]
    models = ("mean predictor", "SchNet")
    assert experiments == [(n, seed, m) for n in (20, 40) for seed in (0, 1) for m in models]
    errors = [row["energy_mae_kcal_mol"] for row in rows if row["model"] == "SchNet"]
    assert len(set(errors)) == 4
    for size in (20, 40):
        for seed in (0, 1):
            assert (tmp_path / f"train{size}" / f"seed{seed}" / "model.safetensors").exists()


def test_the_last_lines_are_about_the_last_model_file(tmp_path, capsys):
    command = "--models SchNet --num-train 20 40"
    run(command, tmp_path)
    assert "on 40 structures" in capsys.readouterr().out
    (tmp_path / "train40" / "model.safetensors").unlink()
    run(command, tmp_path)
    assert "on 20 structures" in capsys.readouterr().out


def test_power_laws_are_printed_below_the_table(tmp_path, capsys):
    run("--models mean SchNet --num-train 20 40 80", tmp_path)
    printed = capsys.readouterr().out.splitlines()
    law = r"\* ethanol \(.*\), SchNet: {} MAE ∝ N\^−?0\.\d{{3}} for N = 20 … 80, residual"
    for quantity in ("energy", "force"):
        assert sum(bool(re.match(law.format(quantity), line)) for line in printed) == 1
    assert sum("∝" in line for line in printed) == 2  # the mean predictor is not trained


def test_finished_rows_are_skipped(tmp_path, trainings):
    first = run("--models mean SchNet --num-train 20", tmp_path)
    assert run("--models mean SchNet --num-train 20", tmp_path) == first
    assert trainings == [tmp_path]
    rows = run("--models mean SchNet --num-train 20 --seed 0 1", tmp_path)
    assert trainings == [tmp_path, tmp_path / "seed1"]
    assert rows[:2] == first
    assert [row["seed"] for row in rows] == [0, 0, 1, 1]


def test_rows_of_earlier_calls_stay_in_the_results(tmp_path):
    first = run("--models mean --num-train 20", tmp_path)
    rows = run("--models mean composition --num-train 30", tmp_path)
    assert [row["model"] for row in rows] == ["mean predictor", "linear composition"]
    rows = run("--models SchNet --num-train 30", tmp_path)
    assert [row["model"] for row in rows] == ["SchNet", "linear composition", "mean predictor"]
    assert first[0]["num_train"] == 20


def test_a_caveat_stands_below_the_table_and_marks_its_rows(tmp_path, capsys):
    run("--models mean --num-train 20", tmp_path)
    capsys.readouterr()
    caveat = "energies-of-a-model"
    rows = run(f"--models composition --num-train 20 --note {caveat}", tmp_path)
    assert rows[0]["note"].startswith(f"{caveat}; frames of a trajectory")
    assert rows[1]["note"].startswith("frames of a trajectory")
    table, _, below = capsys.readouterr().out.partition("\n\n")
    assert "| ethanol (GFN2-xTB) ¹ | linear composition " in table
    assert below.startswith(f"¹ {caveat}; frames of a trajectory")
    page = (tmp_path / "report.html").read_text()
    assert "<td>ethanol (GFN2-xTB) ¹</td><td>linear composition</td>" in page
    assert "<td>ethanol (GFN2-xTB) ²</td><td>mean predictor</td>" in page
    assert re.search(rf"<tfoot><tr><td colspan=\"12\"><span>¹ {caveat}; .*</tfoot></table>", page)


def test_a_finished_row_gets_the_notes_and_published_values_of_today(tmp_path, monkeypatch):
    first = run("--models SchNet --num-train 20", tmp_path)
    monkeypatch.setattr(runs, "fit", None)
    number = literature.md17("ethanol")[0]
    monkeypatch.setattr(literature, "md17", lambda *subject: [number])
    rows = run("--models SchNet --num-train 20 --note seen", tmp_path)
    assert rows[0]["published"] == [number.as_row()]
    assert rows[0]["note"].startswith("seen; ")
    assert first == [rows[0] | {"published": [], "note": first[0]["note"]}]
    stored = json.loads(next((tmp_path / "rows").iterdir()).read_text())
    assert stored["row"] == rows[0]


def test_a_configuration_file_has_one_number_or_several(tmp_path, capsys):
    config = tmp_path / "suite.yaml"
    config.write_text("num_train: 20\nseed: [0, 1]\nmodels: mean\n")
    rows = run(f"--config {config}", tmp_path / "out")
    assert [(r["model"], r["num_train"], r["seed"]) for r in rows] == [
        ("mean predictor", 20, 0), ("mean predictor", 20, 1),
    ]  # fmt: skip
    config.write_text("num_train: forty\n")
    with pytest.raises(SystemExit):
        run(f"--config {config}", tmp_path / "out")
    assert "--num-train element 1: Expected a int. Got value: forty" in capsys.readouterr().err


def test_another_option_is_another_training(tmp_path, capsys):
    run("--models SchNet --num-train 20", tmp_path)
    with pytest.raises(SystemExit):
        run("--models SchNet --num-train 20 --lr 0.1", tmp_path)
    assert "holds a training already" in capsys.readouterr().err
    rows = run("--models SchNet --num-train 20 --lr 0.1 --overwrite", tmp_path)
    assert len(rows) == 1


def test_another_test_set_needs_no_training(tmp_path, trainings):
    first, *_ = run("--models SchNet --num-train 20", tmp_path)
    second, *others = run("--models SchNet --num-train 20 --num-test 60", tmp_path)
    assert len(trainings) == 1
    assert (second["num_test"], others) == (60, [])
    assert second["energy_mae_kcal_mol"] != first["energy_mae_kcal_mol"]
    assert second["steps"] == first["steps"] == 20


def test_an_interrupted_suite_resumes_where_it_was(tmp_path, trainings, monkeypatch, capsys):
    command = "--models mean SchNet --num-train 20 --seed 0 1 --checkpoint-every 5"
    whole = run(command, tmp_path / "whole")
    trainings.clear()
    end_of_step = PotentialModule.on_train_batch_end

    def interrupt(self, *args):
        end_of_step(self, *args)
        if (self.options.seed, self.global_step) == (1, 13):
            raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(PotentialModule, "on_train_batch_end", interrupt)
        with pytest.raises(SystemExit):
            run(command, tmp_path / "cut")
    signal.signal(signal.SIGINT, handler)  # which Lightning has switched off
    rows = json.loads((tmp_path / "cut/results.json").read_text())
    assert [(row["seed"], row["model"]) for row in rows] == [(0, "mean predictor"), (0, "SchNet")]
    with pytest.raises(SystemExit):
        run(command, tmp_path / "cut")
    assert "seed1: holds a training already; resume it (--resume)" in capsys.readouterr().err
    trainings.clear()
    again = run(f"{command} --resume", tmp_path / "cut")
    assert trainings == [tmp_path / "cut/seed1"]
    for row in (*whole, *again):
        del row["seconds"], row["compile_seconds"]
    assert again == whole


def test_a_model_that_diverges_is_a_row_and_the_suite_goes_on(tmp_path):
    rows = run("--models SchNet paper2017 mean --num-train 20 --lr 1e30 --task energy", tmp_path)
    assert [row["stopped_by"] for row in rows] == ["diverged", "diverged", "closed form"]
    assert "energy_mae_kcal_mol" not in rows[0]
    assert rows[2]["energy_mae_kcal_mol"] > 0
    assert rows[0]["steps"] == 20
    assert "diverged" in (tmp_path / "report.html").read_text()
    assert not (tmp_path / "last.ckpt").exists()  # no step of it was good


def test_the_last_good_weights_are_kept(tmp_path, monkeypatch):
    end_of_step = PotentialModule.on_train_batch_end

    def poison(self, *args):
        end_of_step(self, *args)
        if self.global_step == 13:
            next(self.potential.parameters()).data.fill_(torch.nan)

    monkeypatch.setattr(PotentialModule, "on_train_batch_end", poison)
    row, *_ = run("--models SchNet --num-train 20 --checkpoint-every 5", tmp_path)
    assert (row["steps"], row["stopped_by"]) == (20, "diverged")
    assert row["energy_mae_kcal_mol"] > 0  # of the weights with the lowest validation loss
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 10
    assert all(v.isfinite().all() for v in checkpoint["state_dict"].values())


def test_presets_and_models_by_dotted_path(tmp_path):
    model = f"{__name__}.Small"
    rows = run(f"--models schnetpack {model} {__name__}.Layer --num-train 20", tmp_path)
    assert [row["model"] for row in rows] == ["SchNet schnetpack", model, f"{__name__}.Layer"]
    assert rows[0]["parameters"] == sg.nn.num_parameters(sg.SchNet.preset("schnetpack"))
    assert rows[1]["parameters"] == 1160
    own = sg.load(tmp_path / f"{__name__}.Layer" / "model.safetensors", classes=[Layer])
    assert (own.model.hyperparameters["conv"], own.model.hyperparameters["channels"]) == (Layer, 8)


class Small(Baseline):
    """A model of one's own."""

    def __init__(self):
        super().__init__()
        self.hyperparameters = {}


class Layer(sg.RadialConv):
    """A layer of one's own."""

    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis)
        self.filter = nn.Linear(num_basis, channels)

    def message(self, x_j, W):
        return x_j * W


class Wide(nn.Module):
    """Needs an argument that is none of SchNet's."""

    def __init__(self, size):
        super().__init__()


class Deep(sg.SchNet):
    """Passes all arguments on."""

    def __init__(self, **arguments):
        super().__init__(**arguments)


class Narrow(sg.SchNet):
    """Names two of the arguments."""

    def __init__(self, channels=32, num_basis=6):
        super().__init__(channels, 1, num_basis)
        self.hyperparameters = {"channels": channels, "num_basis": num_basis}


def test_own_models_are_built_with_the_options_that_they_take(tmp_path, capsys):
    names = [f"{__name__}.{model.__name__}" for model in (Deep, Narrow)]
    rows = run(f"--models SchNet {' '.join(names)} schnetpack --num-train 20", tmp_path)
    same = sg.nn.num_parameters(sg.SchNet(channels=8, num_layers=1, num_basis=8))
    assert [row["parameters"] for row in rows[:3]] == [same] * 3
    first, second = capsys.readouterr().err.splitlines()[:2]
    assert f"{names[1]} is built without --model.num-layers, which" in first
    assert "schnetpack is built without --model.channels, --model.num-layers, --mo" in second
    entries = [json.loads(path.read_text()) for path in (tmp_path / "rows").iterdir()]
    options = {e["row"]["model"]: e["details"]["options"] for e in entries}
    assert "num_basis 8" in options[names[1]]
    assert "num_layers" not in options[names[1]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--models schnet", "unknown model 'schnet'; known: mean, composition, baseline, SchNet"),
        ("--models lost.Net", "there is no class lost.Net"),
        ("--models json.dumps", "json.dumps is no torch.nn.Module"),
        ("--models torch.nn.ReLU", "torch.nn.ReLU has no attribute 'cutoff'"),
        (f"--models {__name__}.Wide", "cannot be built ("),
        (
            "--models mean --num-train 40 9999",
            "Demo ethanol: cannot split 1200 structures into num_train=9999",
        ),
        ("--models mean --num-train forty", "--num-train"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys, options, message):
    with pytest.raises(SystemExit) as exit:
        run(options, tmp_path / "out")
    error = capsys.readouterr().err
    assert exit.value.code == 2
    *notes, line = error.splitlines()
    assert message in line
    assert all(" is built without --model." in said for said in notes)
    assert not (tmp_path / "out").exists()


def test_a_broken_row_file_says_so(tmp_path, capsys):
    run("--models mean --num-train 20", tmp_path)
    file = next((tmp_path / "rows").iterdir())
    file.write_text("{}")
    with pytest.raises(SystemExit):
        run("--models mean --num-train 20", tmp_path)
    assert "no row of this version" in capsys.readouterr().err


def test_own_models_lie_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    text = "from schnetgeo.nn import Baseline\n\n\nclass Mine(Baseline):\n    pass\n"
    (tmp_path / "my_models_of_a_test.py").write_text(text)
    rows = run("--models my_models_of_a_test.Mine --num-train 20", tmp_path / "out")
    assert rows[0]["model"] == "my_models_of_a_test.Mine"
