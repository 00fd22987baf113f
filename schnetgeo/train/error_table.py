"""Errors as a table for a terminal."""

from collections.abc import Iterable

from schnetgeo.train.metrics import Metrics
from schnetgeo.train.shown_units import shown_units

_HEADER = ("", "MAE", "", "RMSE", "", "R²", "cosine")


def error_table(errors: Iterable[Metrics]) -> str:
    """A line for each target, in kcal/mol and meV beside each other as the papers give energies."""
    lines = [line for metrics in errors for line in _lines(metrics)]
    lines.insert(0, _HEADER)
    widths = [max(len(line[k]) for line in lines) for k in range(len(_HEADER))]
    columns = [k for k in range(len(_HEADER)) if any(line[k] for line in lines[1:])]
    return "\n".join(
        "  ".join(line[k].ljust(widths[k]) for k in columns).rstrip() for line in lines
    )


def _lines(metrics: Metrics) -> list[tuple[str, ...]]:
    scores = tuple("" if v is None else f"{v:.4f}" for v in (metrics.r2, metrics.cosine))
    name = metrics.target.name
    lines = [(f"  {name}", *_sizes(metrics, metrics.mae), *_sizes(metrics, metrics.rmse), *scores)]
    if metrics.mae_per_atom is not None:
        sizes = (_sizes(metrics, v) for v in (metrics.mae_per_atom, metrics.rmse_per_atom))
        lines.append((f"  {name}/atom", *(text for pair in sizes for text in pair), "", ""))
    return lines


def _sizes(metrics: Metrics, value: float) -> tuple[str, str]:
    """The value in one unit or in two."""
    texts = [f"{value * u.factor:8.4g} {u.text}" for u in shown_units(metrics.target)]
    return texts[0], texts[1] if len(texts) > 1 else ""
