"""Errors over training size, and the power law that they follow."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.accuracy.table import subject
from benchmarks.literature import in_columns_unit

QUANTITIES = {
    "energy_mae_kcal_mol": ("energy MAE", "kcal/mol"),
    "force_mae_kcal_mol_A": ("force MAE", "kcal/mol/Å"),
    "mae": ("MAE", ""),
}


class FitResult(NamedTuple):
    """error ∝ N^−α, fitted by least squares of the logarithms."""

    subject: str  # molecule, target or fold
    model: str
    quantity: str  # the column of results.json
    exponent: float  # α
    residual: float  # root mean square of ln(error / fit)
    points: list[list[float]]  # training size N, and the mean error over seeds

    def __str__(self) -> str:
        law = f"{QUANTITIES[self.quantity][0]} ∝ N^{-self.exponent:.3f}".replace("^-", "^−")
        sizes = f"N = {self.points[0][0]:,} … {self.points[-1][0]:,}"
        residual = f"residual {self.residual:.3f} of its logarithm"
        return f"{self.subject}, {self.model}: {law} for {sizes}, {residual}"


def fits(rows: list[dict]) -> list[FitResult]:
    """A power law for each subject, trained model and quantity with three sizes or more."""
    found = []
    for name, model, quantity, own in _series([row for row in rows if row["steps"]]):
        points = _by_size(own, quantity)
        if len(points) > 2:
            size, error = np.log(np.array(points)).T
            slope, offset = np.polyfit(size, error, 1)
            residual = float(np.sqrt(np.mean((error - slope * size - offset) ** 2)))
            found.append(FitResult(name, model, quantity, -float(slope), residual, points))
    return found


def curves(rows: list[dict]) -> list[dict]:
    """What to draw: for each subject and quantity the models, then published values."""
    found: dict[tuple[str, str], dict] = {}
    for name, model, quantity, own in _series(rows):
        points = _by_size(own, quantity)
        if len(points) > 1:
            title, unit = QUANTITIES[quantity]
            curve = found.setdefault(
                (name, quantity),
                {"title": f"{name}: {title}", "unit": unit or own[0]["unit"], "series": []},
            )
            curve["series"].append({"name": model, "points": points, "line": True})
    for (name, quantity), curve in found.items():
        curve["series"] += _published([r for r in rows if subject(r) == name], quantity)
    return list(found.values())


def _series(rows: list[dict]) -> Iterator[tuple[str, str, str, list[dict]]]:
    """Subject, model, quantity, and the rows that have it: those that did not diverge."""
    for name in dict.fromkeys(map(subject, rows)):
        for quantity in QUANTITIES:
            own = [row for row in rows if subject(row) == name and row.get(quantity)]
            for model in dict.fromkeys(row["model"] for row in own):
                yield name, model, quantity, [row for row in own if row["model"] == model]


def over_seeds(rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    """A table of mean ± standard deviation (of n − 1) where rows differ in their seeds alone.

    Returns:
        Its header and its cells; without cells where no model has several seeds.
    """
    header = ["subject", "model", "error", "training", "mean ± spread", "unit", "seeds"]
    cells = []
    for name, model, quantity, own in _series(rows):
        alike: dict[tuple, dict[int, float]] = {}
        for row in own:
            numbers = (row["num_train"], row["num_test"], row["parameters"])
            alike.setdefault(numbers, {})[row["seed"]] = row[quantity]
        title, unit = QUANTITIES[quantity]
        for (size, *_), errors in sorted(alike.items()):
            if len(errors) > 1:
                values = list(errors.values())
                spread = f"{np.mean(values):.4g} ± {np.std(values, ddof=1):.2g}"
                unit = unit or own[0]["unit"]
                cells.append([name, model, title, f"{size:,}", spread, unit, str(len(values))])
    return header, cells


def _by_size(rows: list[dict], quantity: str) -> list[list[float]]:
    found: dict[int, list[float]] = {}
    for row in rows:
        found.setdefault(row["num_train"], []).append(row[quantity])
    return [[size, float(np.mean(found[size]))] for size in sorted(found)]


def _published(rows: list[dict], quantity: str) -> list[dict]:
    """A series for each published model whose training size is known."""
    found: dict[str, set] = {}
    for row in rows:
        for n in row["published"]:
            if n["quantity"] == quantity and n["num_train"]:
                name = f"published: {n['model']}"
                found.setdefault(name, set()).add((n["num_train"], in_columns_unit(n)))
    return [{"name": name, "points": sorted(points)} for name, points in found.items()]
