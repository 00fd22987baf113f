"""One contestant on one case: its training, and the rows that it gives."""

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from jsonargparse import Namespace

from benchmarks.cases import Case
from benchmarks.contestants import Contestant, without_forces
from benchmarks.details import details, history
from benchmarks.report import hardware, versions
from benchmarks.rows import Entry, forget, row_key, training_key
from schnetgeo.cli.model_options import model_arguments, potential_arguments
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.validate import check_elements
from schnetgeo.nn import num_parameters
from schnetgeo.potential import Potential, Prediction, load
from schnetgeo.targets import ENERGY, FORCES, STRESS, Target
from schnetgeo.train import Diverged, TrainingConfig, fit, new_potential, predict
from schnetgeo.train.checks import MODEL, check_start
from schnetgeo.train.default_losses import with_default_losses
from schnetgeo.train.evaluation import Evaluation, compute_metrics
from schnetgeo.train.folder import is_first_process
from schnetgeo.train.objective import predicted_targets
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
    if not trial.model.closed_form:
        data = trial.case.subject.data
        check_elements(data.packed, build(trial).max_z, data.name)
        check_fit(trial, trial.folder(Path(options.out)), options.resume, options.overwrite)


def check_fit(trial: Trial, folder: Path, resume: bool = False, overwrite: bool = False) -> None:
    """Raise `InputError` where the training in a folder would."""
    case, potential = trial.case, potential_of(trial)
    training = with_default_losses(trial.training, potential, case.train)
    targets = predicted_targets(potential)
    check_start(case.train, case.val, training, folder, resume, overwrite, targets)


def run(trial: Trial, options: Namespace, entries: dict[str, Entry]) -> Run:
    """Solve, load or train."""
    out, case, model = Path(options.out), trial.case, trial.model
    if model.closed_form:
        solve = model.closed_form
        names = [target.name for target in case.subject.targets]
        parameters = sum(solve(case.train, case.train, name).parameters for name in names)
        return Run(
            lambda test: without_forces(
                {name: solve(case.train, test, name).values for name in names}, test
            ),
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
    out, case, potential = Path(options.out), trial.case, potential_of(trial)
    size = num_parameters(potential.model)
    if trial.training.progress and is_first_process():
        place = f" in {case.folder}" if case.folder else ""
        print(f"training {trial.model.name}, {size:,} parameters{place}", file=sys.stderr)
    file = out / case.folder / "split.npz"
    case.split.save_or_verify(file, not options.overwrite, how="random", note=case.note or "")
    if is_first_process():
        forget(out, case.folder, trial.model.name)
    try:
        done = fit(
            potential, case.train, case.val, trial.training, trial.folder(out), options.resume,
            options.overwrite,
        )  # fmt: skip
    except Diverged as end:
        return Run(
            partial(_nothing, case), size, end.steps, "diverged", end.seconds, end.compile_seconds
        )
    return Run(_predictor(done.potential), size, *done[1:])


def potential_of(trial: Trial) -> Potential:
    """The potential to train; of an energy the model says whether it is a sum or a mean."""
    targets = trial.case.subject.targets
    targets = None if targets == (ENERGY,) else targets
    return new_potential(build(trial), trial.case.train, targets=targets, **trial.potential)


def _nothing(case: Case, test: StructureDataset) -> Prediction:
    """What a training that left no model predicts."""
    names = [*(target.name for target in case.subject.targets), "forces"]
    labels = {name: test.get_property(name) for name in names if test.has_property(name)}
    return Prediction.of({k: torch.full_like(v, math.nan) for k, v in labels.items()})


def build(trial: Trial) -> torch.nn.Module:
    torch.manual_seed(trial.training.seed)
    return trial.model.build(dict(trial.arguments), trial.case.subject.targets)


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
    target = case.subject.target(tested)
    found = compute_metrics(predicted, test, (target, FORCES, STRESS))
    sound = all(math.isfinite(errors.rmse) for errors in found.values())
    row = {
        "dataset": case.subject.dataset,
        case.subject.column: tested,
        "model": trial.model.name,
        "task": _task(trial),
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
        **(_as_row(found, target) if sound else {}),
        "split": case.split.digest,
        **remarks(trial, tested),
    }  # fmt: skip
    drawn = {"unit": "kcal/mol" if target.unit == "eV" else target.unit}
    if sound:
        factor = KCAL_MOL if target.unit == "eV" else 1.0
        drawn |= details(predicted, test, case.train, factor, target.name)
    if not trial.model.closed_form:
        drawn["history"] = history(trial.folder(out))
        chosen = trial.training.as_json() | trial.arguments | trial.potential
        words = (f"{name} {getattr(value, '__name__', value)}" for name, value in chosen.items())
        drawn["options"] = ", ".join(words)
    return Entry(trial.place(tested), trial.key, trial.rows[tested], row, drawn)


def _task(trial: Trial) -> str:
    """What was learned, as the table says it."""
    targets = trial.case.subject.targets
    if targets == (ENERGY,) or trial.training.losses:
        return trial.training.loss_names
    return " ".join(target.name for target in targets)


def _as_row(found: Evaluation, target: Target) -> dict:
    """Errors in kcal/mol under the name of energies, or in the target's own unit."""
    if target == ENERGY:
        return found.as_row()
    errors = found[target.name]
    if target.unit == "eV":
        sizes = {"mae": errors.mae, "rmse": errors.rmse}
        return {f"energy_{name}_kcal_mol": size / KCAL_MOL for name, size in sizes.items()}
    return {"mae": errors.mae, "rmse": errors.rmse, "unit": target.unit}
