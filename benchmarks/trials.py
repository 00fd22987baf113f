"""One contestant on one case: its training, and the rows that it gives."""

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from jsonargparse import Namespace

from benchmarks.cases import Case
from benchmarks.contestants import Contestant, without_forces
from benchmarks.details import details, history
from benchmarks.report import hardware, versions
from benchmarks.rows import Entry, forget, row_key, training_key
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.validate import check_elements
from schnetgeo.model_options import model_arguments, potential_arguments
from schnetgeo.nn import num_parameters
from schnetgeo.potential import Prediction, load
from schnetgeo.train import Diverged, TrainingConfig, fit, new_potential, predict
from schnetgeo.train.checks import MODEL, check_start
from schnetgeo.train.evaluation import Evaluation, compute_metrics
from schnetgeo.train.folder import is_first_process
from schnetgeo.units import KCAL_MOL


class Trial(NamedTuple):
    """A contestant on a case, and the keys by which its finished rows are known."""

    case: Case
    model: Contestant
    arguments: dict  # those of --model that the model takes
    potential: dict  # filters and spacing
    training: TrainingConfig
    key: str
    rows: dict[str, str]  # the key of each row by what is tested

    def folder(self, out: Path) -> Path:
        """Where its model file is."""
        return out / self.case.folder / self.model.folder

    def place(self, tested: str) -> str:
        """Where its rows are."""
        return "|".join((self.case.folder, self.model.name, tested))


class Run(NamedTuple):
    """How a contestant came to its predictions."""

    predict: Callable[[StructureDataset], Prediction]
    parameters: int
    steps: int
    stopped_by: str
    seconds: float  # of training
    compile_seconds: float = 0.0


def new_trial(case: Case, model: Contestant, options: Namespace) -> Trial:
    """A contestant with the options that have an effect on it."""
    arguments = {k: v for k, v in model_arguments(options.model).items() if k in model.takes}
    of_potential = potential_arguments(options) if model.takes else {}
    training = case.training
    if model.name == "baseline":
        minutes = training.max_minutes or options.baseline_minutes
        training = replace(training, max_minutes=min(options.baseline_minutes, minutes))
    dataset = f"{case.subject.dataset} {case.subject.name}"
    built_with = arguments | of_potential
    key = training_key(dataset, model.name, built_with, training, (case.train, case.val))
    rows = {name: row_key(key, name, test) for name, test in case.tests.items()}
    return Trial(case, model, arguments, of_potential, training, key, rows)


def check(trial: Trial, options: Namespace) -> None:
    """Raise `InputError` for whatever would stop its training."""
    if trial.model.closed_form:
        return
    case, folder = trial.case, trial.folder(Path(options.out))
    check_elements(case.subject.data.packed, build(trial).max_z, case.subject.data.name)
    check_start(case.train, case.val, trial.training, folder, options.resume, options.overwrite)


def run(trial: Trial, options: Namespace, entries: dict[str, Entry]) -> Run:
    """Solve, load or train."""
    out, case, model = Path(options.out), trial.case, trial.model
    if model.closed_form:
        solve = model.closed_form
        _, parameters = solve(case.train, case.train)
        return Run(
            lambda test: without_forces(solve(case.train, test), test),
            parameters, 0, "closed form", 0.0,
        )  # fmt: skip
    for entry in entries.values():  # trained already, tested on other structures
        path = out / entry.place.split("|")[0] / model.folder / MODEL
        if entry.training == trial.key and path.exists():
            row, potential = entry.row, load(path, model.classes)
            return Run(
                _predictor(potential), row["parameters"], row["steps"], row["stopped_by"],
                row["seconds"], row["compile_seconds"],
            )  # fmt: skip
    return _trained(trial, options)


def _trained(trial: Trial, options: Namespace) -> Run:
    out, case, net = Path(options.out), trial.case, build(trial)
    size = num_parameters(net)
    if trial.training.progress and is_first_process():
        place = f" in {case.folder}" if case.folder else ""
        print(f"training {trial.model.name}, {size:,} parameters{place}", file=sys.stderr)
    file = out / case.folder / "split.npz"
    case.split.save_or_verify(file, not options.overwrite, how="random", note=case.note or "")
    if is_first_process():
        forget(out, case.folder, trial.model.name)
    try:
        done = fit(
            new_potential(net, case.train, **trial.potential), case.train, case.val, trial.training,
            trial.folder(out), options.resume, options.overwrite,
        )  # fmt: skip
    except Diverged as end:
        return Run(_nothing, size, end.steps, "diverged", end.seconds, end.compile_seconds)
    return Run(_predictor(done.potential), size, *done[1:])


def _nothing(test: StructureDataset) -> Prediction:
    """What a training that left no model predicts."""
    forces = (
        torch.full_like(test.get_property("forces"), math.nan)
        if test.has_property("forces")
        else None
    )
    return Prediction(torch.full((len(test),), math.nan, dtype=torch.float64), forces)


def build(trial: Trial) -> torch.nn.Module:
    torch.manual_seed(trial.training.seed)
    return trial.model.build(dict(trial.arguments), trial.case.subject.mean)


def _predictor(potential: torch.nn.Module) -> Callable[[StructureDataset], Prediction]:
    return lambda test: predict(
        potential,
        test,
        forces=test.has_property("forces"),
        stress=test.has_property("stress"),
    )


def remarks(trial: Trial, tested: str) -> dict:
    """What a row says that no training finds."""
    case, numbers = trial.case, []
    if not trial.model.closed_form and trial.model.name != "baseline":
        numbers = case.subject.published(tested, trial.training.task, len(case.train))
    return {"published": [number.as_row() for number in numbers], "note": case.note}


def finished(trial: Trial, tested: str, run: Run, out: Path) -> Entry:
    """The row of a run."""
    case, test = trial.case, trial.case.tests[tested]
    predicted = run.predict(test)
    found = compute_metrics(predicted, test)
    sound = all(math.isfinite(errors.rmse) for errors in found.values())
    row = {
        "dataset": case.subject.dataset,
        case.subject.column: tested,
        "model": trial.model.name,
        "task": trial.training.loss_names,
        "seed": trial.training.seed,
        "num_train": len(case.train),
        "num_val": len(case.val),
        "num_test": len(test),
        "parameters": run.parameters,
        "steps": run.steps,
        "stopped_by": run.stopped_by if sound else "diverged",
        "seconds": round(run.seconds, 3),
        "compile_seconds": round(run.compile_seconds, 3),
        "hardware": hardware(),
        "versions": versions(),
        **(_as_row(found, case.subject.unit) if sound else {}),
        "split": case.split.digest,
        **remarks(trial, tested),
    }  # fmt: skip
    drawn = {"unit": "kcal/mol" if case.subject.unit == "eV" else case.subject.unit}
    if sound:
        factor = KCAL_MOL if case.subject.unit == "eV" else 1.0
        drawn |= details(predicted, test, case.train, factor)
    if not trial.model.closed_form:
        drawn["history"] = history(trial.folder(out))
        chosen = trial.training.as_json() | trial.arguments | trial.potential
        words = (f"{name} {getattr(value, '__name__', value)}" for name, value in chosen.items())
        drawn["options"] = ", ".join(words)
    return Entry(trial.place(tested), trial.key, trial.rows[tested], row, drawn)


def _as_row(found: Evaluation, unit: str) -> dict:
    if unit == "eV":
        return found.as_row()
    return {"mae": found["energy"].mae, "rmse": found["energy"].rmse, "unit": unit}
