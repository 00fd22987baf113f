"""Histograms with the normal distributions fitted to them."""

import os

import numpy as np
from matplotlib.figure import Figure

from schnetgeo.data.distribution import Distribution
from schnetgeo.data.normal_mixture import Normal
from schnetgeo.viz.figure_file import write_figure

_BARS = 100


def draw_distributions(distributions: dict[str, Distribution], path: str | os.PathLike) -> None:
    """Draw one histogram beside the other, with one fitted normal and a pair of them.

    Args:
        distributions: distributions by what the axis is called, unit included.
        path: picture; its ending says which kind.

    Raises:
        InputError: if matplotlib does not know the ending, or the file cannot be written.
    """
    figure = Figure(figsize=(5.2 * len(distributions), 3.8), layout="constrained")
    for axes, (label, values) in zip(figure.subplots(1, len(distributions), squeeze=False)[0],
                                     distributions.items(), strict=True):  # fmt: skip
        _draw(axes, label, values)
    write_figure(figure, path)


def _draw(axes, label: str, values: Distribution) -> None:
    per_bar = len(values.counts) // _BARS
    edges = values.edges[: per_bar * _BARS + 1 : per_bar]
    counts = values.counts[: per_bar * _BARS].reshape(_BARS, per_bar).sum(1)
    width = edges[1] - edges[0]
    axes.stairs(counts / (values.count * width), edges, fill=True, color="0.8", label="data")
    x = np.linspace(edges[0], edges[-1], 600)
    if values.std > 0:
        normal = f"normal, σ = {values.std:.4g}"
        axes.plot(x, _density(x, values.normal), "--", color="C0", label=normal)
        pair = sum(_density(x, part) for part in values.mixture)
        axes.plot(x, pair, color="C3", label="pair of normals")
        for part in values.mixture:
            axes.plot(x, _density(x, part), ":", color="C3")
    spread = 5 * values.std or 1
    axes.set_xlim(max(edges[0], values.mean - spread), min(edges[-1], values.mean + spread))
    axes.set_xlabel(label)
    axes.set_ylabel("density")
    axes.legend(frameon=False, fontsize="small")


def _density(x: np.ndarray, normal: Normal) -> np.ndarray:
    scaled = (x - normal.mean) / normal.std
    return normal.weight * np.exp(-(scaled**2) / 2) / (normal.std * np.sqrt(2 * np.pi))
