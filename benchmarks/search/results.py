"""What a search found: a table, search.json, and options to train the best with."""

import json
import math
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from schnetgeo.files import atomic_write
from schnetgeo.units import KCAL_MOL

_MOST = 10  # rows of the table
_SAID = {
    "energy": "energy MAE on validation structures",
    "forces": "force MAE on validation structures",
    "energy_and_forces": "√(energy MAE · force MAE) on validation structures",
}


def objective(energy_mae: float | None, force_mae: float | None, task: str) -> float:
    """What a search makes small: the error of the task, or √(energy MAE · force MAE) of both.

    Unlike the loss it does not depend on rho, and unlike a sum on no weight at all.
    """
    if task == "energy":
        return energy_mae
    if task == "forces":
        return force_mae
    return math.sqrt(energy_mae * force_mae)


def write_results(
    study: optuna.Study, out: Path, name: str, task: str, unit: str, best: str | None
) -> None:
    """search.json and, once a trial is complete, best.yaml."""
    trials = study.get_trials(deepcopy=False)
    states = [trial.state.name.lower() for trial in trials]
    content = {
        "study": study.study_name,
        "benchmark": name,
        "objective": _SAID[task],
        "unit": _unit(task, unit),
        "trials": {state: states.count(state) for state in dict.fromkeys(states)},
        "best": study.best_params if best else None,
        "all": [_as_row(trial) for trial in trials],
    }
    text = json.dumps(content, indent=2, ensure_ascii=False)
    atomic_write(out / "search.json", text.encode())
    if best:
        atomic_write(out / "best.yaml", best.encode())


def print_results(study: optuna.Study, out: Path, name: str, task: str, unit: str) -> None:
    """The best trials, and how to train one like the first."""
    complete = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
    if not complete:
        print(f"no trial is complete; {out / 'search.json'} has them all")
        return
    complete = sorted(complete, key=lambda trial: trial.value)[:_MOST]
    options = list(complete[0].params)
    header = ["trial", *_errors(complete[0], unit), *options]
    lines = [
        [str(t.number), *_errors(t, unit).values(), *(_text(t.params[k]) for k in options)]
        for t in complete
    ]
    for line in [header, ["---"] * len(header), *lines]:
        print("| " + " | ".join(line) + " |")
    print(f"\nsmallest {_SAID[task]} first; {out / 'search.json'} has all trials")
    print(f"python -m benchmarks.{name} --config {out / 'best.yaml'}")


def _errors(trial: FrozenTrial, unit: str) -> dict[str, str]:
    found = {}
    for key, label, per in (("energy_mae", "energy MAE", ""), ("force_mae", "force MAE", "/Å")):
        value = trial.user_attrs.get(key)
        if value is not None:
            kcal = unit == "eV"
            shown = f"{value / KCAL_MOL:.3f}" if kcal else f"{value:.4g}"
            beside = f" ({1000 * value:.1f})" if kcal else ""
            units = f"kcal/mol{per} (meV{per})" if kcal else unit
            found[f"{label}, {units}"] = shown + beside
    return found


def _unit(task: str, unit: str) -> str:
    return {"energy": unit, "forces": f"{unit}/Å", "energy_and_forces": f"{unit}/Å^½"}[task]


def _as_row(trial: FrozenTrial) -> dict:
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": trial.value if trial.state is TrialState.COMPLETE else None,
        **trial.params,
        **trial.user_attrs,
    }


def _text(value) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return value.rpartition(".")[2] if isinstance(value, str) else str(value)
