"""Search for good options of a model and its training, alone or with many machines at once.

`python -m benchmarks.search md17 --molecules ethanol --max-minutes 2 --trials 50 --out DIR`
"""

import math
import os
import platform
from pathlib import Path

import lightning as L
import optuna
from jsonargparse import Namespace
from jsonargparse.typing import PositiveFloat, PositiveInt
from optuna.study import MaxTrialsCallback
from optuna.trial import Trial, TrialState

from benchmarks import iso17, md17, qm9, rmd17
from benchmarks.accuracy.experiments import Subject, experiments
from benchmarks.accuracy.models import BenchmarkModel, benchmark_model
from benchmarks.accuracy.runner import run_command
from benchmarks.accuracy.runs import build, check_fit, new_run, potential_of
from benchmarks.search.results import objective, print_results, write_results
from benchmarks.search.space import SPACES, Space, read_space
from benchmarks.search.study import open_study
from schnetgeo._version import __version__
from schnetgeo.cli.parser import Parser
from schnetgeo.cli.run_options import check_device
from schnetgeo.errors import InputError
from schnetgeo.targets import FORCES, Target
from schnetgeo.train import Diverged, evaluate, fit
from schnetgeo.train.module import PotentialModule
from schnetgeo.train.schedule import progress
from schnetgeo.train.shown_units import column, prefix, shown_units

BENCHMARKS = {"md17": md17, "rmd17": rmd17, "qm9": qm9, "iso17": iso17}
OWN = ("space", "trials", "storage", "study", "search_minutes")
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_RUNGS = 10  # a trial that lags is given up at one of them
# the same search, whatever these are
_NO_EFFECT = (
    "config", "out", "root", "data", "device", "devices", "threads", "progress", "resume",
    "overwrite", "checkpoint_every", "baseline_minutes",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Run a search; an `InputError` becomes one line and exit code 2."""

    def run(options: Namespace) -> None:
        space = read_space(options[options.subcommand].space)
        options = _parser(space).parse_args(arguments)
        _search(options.subcommand, options[options.subcommand], space)

    run_command(_parser(), run, arguments)


def _parser(space: Space = SPACES["default"]) -> Parser:
    parser = Parser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--version", action="version", version=f"schnetgeo {__version__}")
    commands = parser.add_subcommands()
    for name, module in BENCHMARKS.items():
        about = f"with the data and the options of benchmarks.{name}"
        commands.add_subcommand(name, _benchmark_parser(name, module, space), help=about)
    return parser


def _benchmark_parser(name: str, module, space: Space) -> Parser:
    parser = module.make_parser()
    parser.add_argument("--space", type=str, default="default",
                        help=f"{', '.join(SPACES)}, or a YAML file of your own")  # fmt: skip
    parser.add_argument(
        "--trials", type=PositiveInt, default=space.trials,
        help="finished ones, those of earlier calls and other processes included",
    )  # fmt: skip
    parser.add_argument(
        "--storage", type=str | None,
        help="database that several processes or machines share, such as postgresql://…, or a "
        ".journal file on a shared disk; study.db in --out unless given",
    )  # fmt: skip
    parser.add_argument("--study", type=str, default=name, help="name within the database")
    parser.add_argument("--search_minutes", type=PositiveFloat | None,
                        help="begin no trial after that")  # fmt: skip
    known = {k: v for k, v in space.defaults.items() if k in parser.get_defaults()}
    parser.set_defaults({**known, "models": ["SchNet"], "out": f"runs/search_{name}"})
    return parser


def _search(name: str, options: Namespace, space: Space) -> None:
    module, out = BENCHMARKS[name], Path(options.out)
    parser = module.make_parser()
    base = options.clone()
    for own in OWN:
        base.pop(own)
    base.pop("config", None)
    if base.protocol:
        raise InputError("--protocol says how to train, so there is nothing to search; leave it")
    _check_names(space, base)
    if len(space.options) > 1 and base.task != "energy_and_forces":  # where rho has no effect
        space = space._replace(options={k: v for k, v in space.options.items() if k != "rho"})

    def chosen(values: dict) -> Namespace:
        return parser.parse_object(_nested(values), base.clone())

    check_device(base.device)
    model, subjects = _model(base), list(module.read_subjects(base))
    for values in space.ends():  # so that a wrong value is refused before the first training
        experiment = _only(list(experiments(chosen(values), subjects)))
        started = new_run(experiment, model, chosen(values))
        build(started)
    if not len(experiment.val):
        raise InputError("a search compares errors on validation structures; raise num_val")
    check_fit(started, out / "trials" / "0")
    about = _about(base, space) | {
        "structures": f"{experiment.train.fingerprint} {experiment.val.fingerprint}"
    }
    study = open_study(out, options.storage, options.study, space.sampler(), about)

    def written(study: optuna.Study, *_) -> None:
        best = None
        if study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
            found = chosen(study.best_params)
            found.out = str(out / "best")
            best = parser.dump(found)
        write_results(study, out, name, base.task, experiment.subject.targets[0].unit, best)

    def run(trial: Trial) -> float:
        trained = chosen(space.suggest(trial))
        return _run(trial, study, trained, subjects, model, out / "trials" / f"{trial.number:04}")

    if len(study.get_trials(states=FINISHED)) < options.trials:
        timeout = options.search_minutes and 60 * options.search_minutes
        callbacks = [MaxTrialsCallback(options.trials, FINISHED), written]
        study.optimize(run, timeout=timeout, callbacks=callbacks)
    written(study)
    print_results(study, out, name, base.task, experiment.subject.targets[0].unit)


def _run(
    trial: Trial,
    study: optuna.Study,
    options: Namespace,
    subjects: list[Subject],
    model: BenchmarkModel,
    folder: Path,
) -> float:
    """The objective of one training; what was killed politely is queued again."""
    trial.set_user_attr("process", f"{platform.node()} {os.getpid()}")
    experiment = _only(list(experiments(options, subjects)))
    started = new_run(experiment, model, options)
    target, task, potential = experiment.subject.targets[0], options.task, potential_of(started)
    try:
        done = fit(
            potential, experiment.train, experiment.val, experiment.training, folder,
            overwrite=True, callbacks=[Pruning(trial, target, task)],
        )  # fmt: skip
    except (KeyboardInterrupt, SystemExit):
        study.enqueue_trial(trial.params)
        study.tell(trial, state=TrialState.FAIL)
        raise SystemExit(143) from None
    except Diverged:
        raise optuna.TrialPruned("diverged") from None
    errors = evaluate(done.potential, experiment.val)
    about = {"steps": done.steps, "seconds": round(done.seconds, 3), "stopped_by": done.stopped_by}
    for metrics in errors.values():
        sizes = {"mae": metrics.mae, "rmse": metrics.rmse}
        about |= {f"{prefix(metrics.target)}_{k}": v for k, v in sizes.items()}
    for key, value in about.items():
        if isinstance(value, str) or math.isfinite(value):
            trial.set_user_attr(key, value)
    value = objective(about.get(f"{prefix(target)}_mae"), about.get("force_mae"), task)
    if done.stopped_by == "diverged" or not math.isfinite(value):
        raise optuna.TrialPruned("diverged")
    return value


class Pruning(L.Callback):
    """Gives up a trial that is worse than the median of the others at the same tenth of its end."""

    def __init__(self, trial: Trial, target: Target, task: str):
        self.trial, self.target, self.task = trial, target, task
        self.rung = 0

    def on_validation_end(self, trainer: L.Trainer, module: PotentialModule):
        rung = int(_RUNGS * progress(module.options, trainer.global_step, module.seconds))
        if not self.rung < rung < _RUNGS:
            return
        self.rung = rung
        errors = (_shown_mae(trainer, target) for target in (self.target, FORCES))
        self.trial.report(objective(*errors, self.task), rung)
        if self.trial.should_prune():
            raise optuna.TrialPruned(f"behind the others after {trainer.global_step} steps")


def _shown_mae(trainer: L.Trainer, target: Target) -> float:
    """Mean absolute error on validation structures, in the unit of the target."""
    error = trainer.callback_metrics.get(f"val_{column(target, 'mae')}", math.nan)
    return float(error) / shown_units(target)[0].factor


def _check_names(space: Space, options: Namespace) -> None:
    for name in space.options:
        if name not in options:
            raise InputError(
                f"space: there is no option {name!r} to search; names are those of the command "
                "line with _ for -, such as lr, batch_size or model.channels"
            )


def _model(options: Namespace) -> BenchmarkModel:
    if len(options.models) != 1 or benchmark_model(options.models[0]).closed_form:
        raise InputError(f"models: a search trains one kind of model, got {options.models}")
    return benchmark_model(options.models[0])


def _only(found: list):
    if len(found) != 1:
        raise InputError(
            f"a search is about one experiment, got {len(found)}; give one molecule or target, one "
            "num_train and one seed"
        )
    return found[0]


def _about(options: Namespace, space: Space) -> dict[str, str]:
    """What all trials of a study share."""
    skipped = {*_NO_EFFECT, *space.options}
    shared = {k: str(v) for k, v in options.items() if k not in skipped}
    return {**shared, "space": space.described()}


def _nested(values: dict) -> dict:
    nested: dict = {}
    for name, value in values.items():
        outer, _, inner = name.rpartition(".")
        (nested.setdefault(outer, {}) if outer else nested)[inner] = value
    return nested


if __name__ == "__main__":
    main()
