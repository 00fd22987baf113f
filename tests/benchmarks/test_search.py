"""Searches: spaces, resuming, several processes, what was killed, and training with the best."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import yaml
from jsonargparse import Namespace
from lightning import Trainer
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from benchmarks import md17
from benchmarks.search import __main__ as search
from benchmarks.search import study as search_study
from benchmarks.search.__main__ import Pruning, main
from benchmarks.search.results import objective
from benchmarks.search.space import REPORT, SPACES, read_space
from schnetgeo.errors import InputError
from schnetgeo.targets import ENERGY
from tests.test_package import ROOT

FEW = (
    "md17 --demo --num-train 20 --num-val 10 --max-steps 10 --validate-every 5 --progress false "
    "--model.num-basis 8 --model.channels 8 --model.num-layers 1"
)
SMALL = "lr: {low: 1.0e-3, high: 1.0e-2, log: true}\nmodel.channels: [8, 16]\nrho: [0.01, 0.1]\n"


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(SMALL)
    return str(path)


def run(space: str, folder: Path, options: str = "") -> dict:
    main([*FEW.split(), "--space", space, *options.split(), "--out", str(folder)])
    return json.loads((folder / "search.json").read_text())


def study_of(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="md17", storage=f"sqlite:///{folder / 'study.db'}")


def test_the_space_of_the_report():
    choices = {name: found.choices for name, found in REPORT.options.items()}
    assert math.prod(map(len, choices.values())) == 324 == REPORT.trials
    assert choices["model.channels"] == (32, 64, 128, 256)
    assert choices["model.num_layers"] == (2, 4, 8)
    assert choices["model.cutoff"] == (20, 30, 40)
    assert choices["model.num_basis"] == (100, 200, 400)
    assert [name.rpartition(".")[2] for name in choices["model.activation"]] == [
        "ShiftedSoftplus", "LeakyReLU", "GELU",
    ]  # fmt: skip
    assert REPORT.defaults["max_steps"] * REPORT.defaults["batch_size"] == 100 * 10_000
    study = optuna.create_study(sampler=REPORT.sampler())
    study.optimize(lambda trial: len(REPORT.suggest(trial)), n_trials=400)
    tried = {tuple(trial.params.values()) for trial in study.trials}
    assert len(tried) == len(study.trials) == 324


@pytest.mark.parametrize("benchmark", search.BENCHMARKS)
@pytest.mark.parametrize("name", SPACES)
def test_every_value_of_the_spaces_is_one_of_the_benchmarks(benchmark, name):
    parser = search.BENCHMARKS[benchmark].make_parser()
    base = parser.parse_args(["--max-steps", "1"])
    tried = {key: set() for key in SPACES[name].options}
    for values in SPACES[name].ends():
        options = parser.parse_object(search._nested(values), base.clone())
        for key, value in values.items():
            found = options[key]
            if isinstance(found, Namespace):  # a class: its path may be shorter
                assert found.class_path.split(".")[-1] == value.split(".")[-1]
            else:
                assert found == value
            tried[key].add(value)
    for key, found in SPACES[name].options.items():
        if isinstance(found, CategoricalDistribution):
            assert tried[key] == set(found.choices)


def test_defaults_of_the_report_hold_unless_others_are_given():
    options = search._parser(REPORT).parse_args(["qm9", "--space", "report", "--num-val", "7"]).qm9
    assert (options.num_train, options.num_val, options.trials) == ([10_000], 7, 324)
    assert (options.batch_size, options.lr, options.max_steps) == (32, 1e-3, 31_250)
    assert options.model.cutoff_fn.__name__ == "StepCutoff"


@pytest.mark.slow
def test_a_search_finds_the_smallest_and_trains_with_it(space, tmp_path, capsys):
    found = run(space, tmp_path / "out", "--trials 3")
    assert found["trials"] == {"complete": 3}
    values = [trial["value"] for trial in found["all"]]
    best = found["all"][values.index(min(values))]
    assert found["best"] == {key: best[key] for key in ("lr", "model.channels", "rho")}
    for trial in found["all"]:
        assert trial["value"] == pytest.approx(math.sqrt(trial["energy_mae"] * trial["force_mae"]))
        assert (trial["steps"], trial["stopped_by"]) == (10, "max_steps")
    table = capsys.readouterr().out.splitlines()
    assert table[2].startswith(f"| {best['number']} | ")
    command = table[-1]
    assert command == f"python -m benchmarks.md17 --config {tmp_path / 'out' / 'best.yaml'}"
    md17.main(command.split()[3:])
    rows = json.loads((tmp_path / "out" / "best" / "results.json").read_text())
    assert [row["model"] for row in rows] == ["SchNet"]
    assert (rows[0]["steps"], rows[0]["num_train"]) == (10, 20)
    first, again = (
        (tmp_path / "out" / folder / "logs" / "version_0" / "metrics.csv").read_text()
        for folder in (f"trials/{best['number']:04}", "best")
    )
    assert first == again  # the same training, bit for bit


@pytest.mark.slow
def test_a_search_goes_on_where_it_was(space, tmp_path):
    first = run(space, tmp_path, "--trials 2")["all"]
    assert run(space, tmp_path, "--trials 2")["all"] == first
    more = run(space, tmp_path, "--trials 3")["all"]
    assert more[:2] == first
    assert len(more) == 3


@pytest.mark.slow
def test_what_was_killed_is_tried_again(space, tmp_path, monkeypatch):
    run(space, tmp_path, "--trials 1")
    study = study_of(tmp_path)
    killed = study.ask(read_space(space).options)
    monkeypatch.setattr(search_study, "HEARTBEAT", 1)
    search_study._storage(f"sqlite:///{tmp_path / 'study.db'}").record_heartbeat(killed._trial_id)
    time.sleep(4)  # more than two heartbeats by a clock of whole seconds
    trials = run(space, tmp_path, "--trials 2")["all"]
    assert [trial["state"] for trial in trials] == ["complete", "fail", "complete"]
    assert all(trials[2][key] == value for key, value in killed.params.items())


@pytest.mark.slow
def test_a_search_that_the_queue_ends_queues_its_trial(space, tmp_path):
    command = [sys.executable, "-m", "benchmarks.search", *FEW.split(), "--space", space]
    command += ["--max-steps", "1000000", "--out", str(tmp_path), "--trials", "1"]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    log = tmp_path / "trials" / "0000" / "logs" / "version_0" / "metrics.csv"
    for _ in range(3000):
        time.sleep(0.1)
        if log.exists():
            break
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 143
    states = [trial.state for trial in study_of(tmp_path).trials]
    assert states == [TrialState.FAIL, TrialState.WAITING]


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["study.db", "shared.journal"])
def test_two_processes_share_a_study(space, tmp_path, storage):
    command = [sys.executable, "-m", "benchmarks.search", *FEW.split(), "--space", space]
    command += ["--trials", "6", "--out", str(tmp_path)]
    if storage != "study.db":
        command += ["--storage", str(tmp_path / storage)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    both = [subprocess.Popen(command, cwd=ROOT, env=environment) for _ in range(2)]
    assert [process.wait(300) for process in both] == [0, 0]
    trials = json.loads((tmp_path / "search.json").read_text())["all"]
    assert 6 <= len(trials) <= 7  # the last two may end together
    assert {trial["state"] for trial in trials} <= {"complete", "pruned"}
    assert len({trial["process"] for trial in trials}) == 2
    assert len({trial["lr"] for trial in trials}) == len(trials)


def test_a_trial_that_lags_is_given_up(space, tmp_path, monkeypatch):
    monkeypatch.setattr(optuna.pruners.MedianPruner, "prune", lambda *arguments: True)
    found = run(space, tmp_path, "--trials 2")
    assert found["trials"] == {"pruned": 2}
    assert found["best"] is None
    assert not (tmp_path / "best.yaml").exists()


def test_a_rung_is_looked_at_once():
    class Trial:
        reports = []  # noqa: RUF012

        def report(self, value, step):
            self.reports.append((round(value, 6), step))

        def should_prune(self):
            return False

    class Module:
        class options:  # noqa: N801
            max_steps, max_minutes = 100, None

        seconds = 0.0

    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    pruning = Pruning(Trial(), ENERGY, "forces")
    trainer.callback_metrics["val_force_mae_kcal_mol_A"] = 1.0
    for step in (5, 10, 15, 25, 99, 100):
        trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total.completed = step  # fmt: skip  # noqa: E501
        pruning.on_validation_end(trainer, Module())
    assert Trial.reports == [(0.043364, 1), (0.043364, 2), (0.043364, 9)]


def test_a_trial_that_diverges_is_no_best(tmp_path):
    (tmp_path / "space.yaml").write_text("lr: [1.0e+30]\n")
    found = run(str(tmp_path / "space.yaml"), tmp_path, "--trials 1")
    assert found["trials"] == {"pruned": 1}


def test_objectives():
    errors = 0.04, 0.09
    assert objective(*errors, "energy") == 0.04
    assert objective(*errors, "forces") == 0.09
    assert objective(*errors, "energy_and_forces") == pytest.approx(0.06)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate: [1.0]", "there is no option 'learning_rate' to search"),
        ("lr: {low: 1}", "lr must be a list, or low and high"),
        ("lr: {low: 2, high: 1}", "lr must be a list, or low and high"),
        ("lr: 3", "lr must be a list, or low and high"),
        ("[", "no YAML"),
        ("model.channels: [many]", "--model.channels"),
        ("batch_size: [10, -1]", "batch_size must be positive, got -1"),
    ],
)
def test_a_space_that_is_none(tmp_path, capsys, text, message):
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(SystemExit) as exit:
        run(str(tmp_path / "space.yaml"), tmp_path / "out")
    error = capsys.readouterr().err
    assert exit.value.code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--num-val 0", "raise num_val"),
        ("--num-train 20 30", "a search is about one experiment, got 2"),
        ("--models mean", "a search trains one kind of model"),
        ("--num-train 5000", "cannot split 1200 structures"),
        ("--storage nonsense", "storage nonsense: cannot be opened"),
        ("--trials 0", "--trials"),
        ("--protocol milestone1", "--protocol says how to train"),
    ],
)
def test_bad_input(space, tmp_path, capsys, options, message):
    with pytest.raises(SystemExit) as exit:
        run(space, tmp_path / "out", options)
    error = capsys.readouterr().err
    assert exit.value.code == 2
    assert message in error
    assert error.count("\n") == 1


def test_another_search_in_the_same_study(space, tmp_path, capsys):
    run(space, tmp_path, "--trials 1")
    with pytest.raises(SystemExit):
        run(space, tmp_path, "--trials 2 --task forces")
    assert "was begun with task = energy_and_forces, not forces" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(space, tmp_path, "--trials 2 --seed 1")
    assert "go on with that, or give another --study" in capsys.readouterr().err
    run(space, tmp_path, "--trials 1 --task forces --study forces")


def test_own_spaces_are_read_as_they_say(space):
    found = read_space(space).options
    assert (found["lr"].low, found["lr"].high, found["lr"].log) == (1e-3, 1e-2, True)
    assert found["model.channels"].choices == (8, 16)
    with pytest.raises(InputError, match="unknown space 'papers'; known: default, report"):
        read_space("papers")


def test_best_yaml_is_that_of_the_smallest(space, tmp_path, monkeypatch):
    values = iter([1.0, 0.5, 2.0])
    monkeypatch.setattr(search, "objective", lambda *errors: next(values))
    monkeypatch.setattr(Pruning, "on_validation_end", lambda *arguments: None)
    found = run(space, tmp_path, "--trials 3")
    content = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert content["lr"] == found["all"][1]["lr"] == found["best"]["lr"]


def test_best_yaml_is_plain(space, tmp_path):
    run(space, tmp_path, "--trials 1")
    content = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert content["demo"] is True
    assert not {"trials", "space", "storage"} & set(content)
