"""One model of a benchmark in one experiment: its training, and the rows that it gives."""

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from jsonargparse import Namespace

from benchmarks.accuracy.details import details, history
from benchmarks.accuracy.experiments import Experiment
from benchmarks.accuracy.models import BenchmarkModel, without_forces
from benchmarks.accuracy.rows import Entry, forget, row_key, training_key
from benchmarks.machine import hardware, versions
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


class Run(NamedTuple):
    """A model in an experiment, and the keys by which its finished rows are known."""

    experiment: Experiment
    model: BenchmarkModel
    arguments: dict  # those of --model that the model takes
    potential: dict  # filters and spacing
    training: TrainingConfig
    key: str
    rows: dict[str, str]  # the key of each row by what is tested

    def folder(self, out: Path) -> Path:
        """Where its model file is."""
        return out / self.experiment.folder / self.model.folder

    def place(self, tested: str) -> str:
        """Where its rows are."""
        return "|".join((self.experiment.folder, self.model.name, tested))


class RunResult(NamedTuple):
    """Predictions of a run, and what they took."""

    predict: Callable[[StructureDataset], Prediction]
    parameters: int
    steps: int
    stopped_by: str
    seconds: float  # of training
    compile_seconds: float = 0.0


def new_run(experiment: Experiment, model: BenchmarkModel, options: Namespace) -> Run:
    """A model in an experiment, with the options that have an effect on it."""
    arguments = {k: v for k, v in model_arguments(options.model).items() if k in model.takes}
    of_potential = potential_arguments(options) if model.takes else {}
    training = experiment.training
    if model.name == "baseline":
        minutes = training.max_minutes or options.baseline_minutes
        training = replace(training, max_minutes=min(options.baseline_minutes, minutes))
    dataset = f"{experiment.subject.dataset} {experiment.subject.name}"
    built_with = arguments | of_potential
    key = training_key(
        dataset, model.name, built_with, training, (experiment.train, experiment.val)
    )
    rows = {name: row_key(key, name, test) for name, test in experiment.tests.items()}
    return Run(experiment, model, arguments, of_potential, training, key, rows)


def check(run: Run, options: Namespace) -> None:
    """Raise `InputError` for whatever would stop its training."""
    if not run.model.closed_form:
        data = run.experiment.subject.data
        check_elements(data.packed, build(run).max_z, data.name)
        check_fit(run, run.folder(Path(options.out)), options.resume, options.overwrite)


def check_fit(run: Run, folder: Path, resume: bool = False, overwrite: bool = False) -> None:
    """Raise `InputError` where the training in a folder would."""
    experiment, potential = run.experiment, potential_of(run)
    training = with_default_losses(run.training, potential, experiment.train)
    targets = predicted_targets(potential)
    check_start(experiment.train, experiment.val, training, folder, resume, overwrite, targets)


def execute(run: Run, options: Namespace, entries: dict[str, Entry]) -> RunResult:
    """Solve, load or train."""
    out, experiment, model = Path(options.out), run.experiment, run.model
    if model.closed_form:
        solve = model.closed_form
        names = [target.name for target in experiment.subject.targets]
        parameters = sum(
            solve(experiment.train, experiment.train, name).parameters for name in names
        )
        return RunResult(
            lambda test: without_forces(
                {name: solve(experiment.train, test, name).values for name in names}, test
            ),
            parameters, 0, "closed form", 0.0,
        )  # fmt: skip
    for entry in entries.values():  # trained already, tested on other structures
        path = out / entry.place.split("|")[0] / model.folder / MODEL
        if entry.training == run.key and path.exists():
            row, potential = entry.row, load(path, model.classes)
            return RunResult(
                _predictor(potential), row["parameters"], row["steps"], row["stopped_by"],
                row["seconds"], row["compile_seconds"],
            )  # fmt: skip
    return _trained(run, options)


def _trained(run: Run, options: Namespace) -> RunResult:
    out, experiment, potential = Path(options.out), run.experiment, potential_of(run)
    size = num_parameters(potential.model)
    if run.training.progress and is_first_process():
        place = f" in {experiment.folder}" if experiment.folder else ""
        print(f"training {run.model.name}, {size:,} parameters{place}", file=sys.stderr)
    file = out / experiment.folder / "split.npz"
    experiment.split.save_or_verify(
        file, not options.overwrite, how="random", note=experiment.note or ""
    )
    if is_first_process():
        forget(out, experiment.folder, run.model.name)
    try:
        done = fit(
            potential, experiment.train, experiment.val, run.training, run.folder(out),
            options.resume, options.overwrite,
        )  # fmt: skip
    except Diverged as end:
        return RunResult(
            partial(_nothing, experiment),
            size,
            end.steps,
            "diverged",
            end.seconds,
            end.compile_seconds,
        )
    return RunResult(_predictor(done.potential), size, *done[1:])


def potential_of(run: Run) -> Potential:
    """The potential to train; of an energy the model says whether it is a sum or a mean."""
    targets = run.experiment.subject.targets
    targets = None if targets == (ENERGY,) else targets
    return new_potential(build(run), run.experiment.train, targets=targets, **run.potential)


def _nothing(experiment: Experiment, test: StructureDataset) -> Prediction:
    """What a training that left no model predicts."""
    names = [*(target.name for target in experiment.subject.targets), "forces"]
    labels = {name: test.get_property(name) for name in names if test.has_property(name)}
    return Prediction.of({k: torch.full_like(v, math.nan) for k, v in labels.items()})


def build(run: Run) -> torch.nn.Module:
    torch.manual_seed(run.training.seed)
    return run.model.build(dict(run.arguments), run.experiment.subject.targets)


def _predictor(potential: torch.nn.Module) -> Callable[[StructureDataset], Prediction]:
    return lambda test: predict(
        potential,
        test,
        forces=test.has_property("forces"),
        stress=test.has_property("stress"),
    )


def annotations(run: Run, tested: str) -> dict:
    """What a row says that no training finds."""
    experiment, numbers = run.experiment, []
    if not run.model.closed_form and run.model.name != "baseline":
        numbers = experiment.subject.published(tested, run.training.task, len(experiment.train))
    return {"published": [number.as_row() for number in numbers], "note": experiment.note}


def finished(run: Run, tested: str, result: RunResult, out: Path) -> Entry:
    """The row of a run."""
    experiment, test = run.experiment, run.experiment.tests[tested]
    predicted = result.predict(test)
    target = experiment.subject.target(tested)
    found = compute_metrics(predicted, test, (target, FORCES, STRESS))
    sound = all(math.isfinite(errors.rmse) for errors in found.values())
    row = {
        "dataset": experiment.subject.dataset,
        experiment.subject.column: tested,
        "model": run.model.name,
        "task": _task(run),
        "seed": run.training.seed,
        "num_train": len(experiment.train),
        "num_val": len(experiment.val),
        "num_test": len(test),
        "parameters": result.parameters,
        "steps": result.steps,
        "stopped_by": result.stopped_by if sound else "diverged",
        "seconds": round(result.seconds, 3),
        "compile_seconds": round(result.compile_seconds, 3),
        "hardware": hardware(),
        "versions": versions(),
        **(_as_row(found, target) if sound else {}),
        "split": experiment.split.digest,
        **annotations(run, tested),
    }  # fmt: skip
    drawn = {"unit": "kcal/mol" if target.unit == "eV" else target.unit}
    if sound:
        factor = KCAL_MOL if target.unit == "eV" else 1.0
        drawn |= details(predicted, test, experiment.train, factor, target.name)
    if not run.model.closed_form:
        drawn["history"] = history(run.folder(out))
        chosen = run.training.as_json() | run.arguments | run.potential
        words = (f"{name} {getattr(value, '__name__', value)}" for name, value in chosen.items())
        drawn["options"] = ", ".join(words)
    return Entry(run.place(tested), run.key, run.rows[tested], row, drawn)


def _task(run: Run) -> str:
    """What was learned, as the table says it."""
    targets = run.experiment.subject.targets
    if targets == (ENERGY,) or run.training.losses:
        return run.training.loss_names
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
