"""What a check finds: numbers with their unit and what was done, and a curve to draw."""

from typing import NamedTuple

import numpy as np

from schnetgeo.units import KCAL_MOL


class Finding(NamedTuple):
    """One number; `None` where there is none, and `done` says why."""

    check: str
    quantity: str
    value: float | None
    unit: str
    done: str


class Curve(NamedTuple):
    """What a panel of the picture shows of one model."""

    title: str
    x: np.ndarray
    y: np.ndarray
    x_label: str
    y_label: str
    mark: float | None = None  # an x worth a line: the cutoff, the starting length


class Checked(NamedTuple):
    """All that one check found."""

    findings: list[Finding]
    curve: Curve | None = None


def missing(check: str, why: str) -> Checked:
    """Of a check that cannot be made."""
    return Checked([Finding(check, "", None, "", why)])


def finite(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return float(value) if np.isfinite(value) else None


def markdown(rows: list[dict]) -> str:
    """A table for a terminal; energies in kcal/mol with meV beside them, as papers have both."""
    several = len({row["model"] for row in rows}) > 1
    header = ["model"] * several + ["check", "quantity", "value", "what was done"]
    lines = [
        [row["model"]] * several + [row["check"], row["quantity"], _value(row), row["done"]]
        for row in rows
    ]
    widths = [max(len(line[k]) for line in [header, *lines]) for k in range(len(header))]
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in [header, ["-" * w for w in widths], *lines]
    )


def _value(row: dict) -> str:
    value, unit = row["value"], row["unit"]
    if value is None:
        return "–"
    beside = ""
    if unit.startswith("kcal/mol"):
        mev = 1000 * KCAL_MOL * value
        beside = f" ({mev:.3g} meV{unit.removeprefix('kcal/mol')})"
    return f"{value:.4g} {unit}".rstrip() + beside
