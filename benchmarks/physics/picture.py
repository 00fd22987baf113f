"""The curves of all checks in one picture, a panel each and a line for each model."""

import io
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.physics.findings import Curve
from schnetgeo.files import atomic_write

_FEW, _MANY = 50, 1000  # points that are marked, and that need a thin line


def draw(panels: list[list[tuple[str, Curve]]], path: Path) -> None:
    """Draw the curves of models, by name, in panels two by two."""
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(9.6, 3.4 * rows), layout="constrained")
    axes = figure.subplots(rows, 2, squeeze=False).flatten()
    for ax, panel in zip(axes, panels, strict=False):
        _draw(ax, panel)
    for ax in axes[len(panels) :]:
        ax.remove()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    atomic_write(path, buffer.getvalue())


def _draw(ax, panel: list[tuple[str, Curve]]) -> None:
    for name, curve in panel:
        dots = "o-" if len(curve.x) < _FEW else "-"
        ax.plot(curve.x, curve.y, dots, ms=3, lw=0.6 if len(curve.x) > _MANY else 1.2, label=name)
    first = panel[0][1]
    if first.mark is not None:
        ax.axvline(first.mark, color="0.6", lw=0.8, ls="--")
    ax.set_title(first.title, fontsize="medium")
    ax.set_xlabel(first.x_label)
    ax.set_ylabel(first.y_label)
    ax.set_xlim(first.x[0], first.x[-1])
    if first.x_label.endswith("°"):
        ax.set_xticks(range(0, 361, 60))
    if len(panel) > 1:
        ax.legend(frameon=False, fontsize="small")
