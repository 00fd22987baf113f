"""Pictures of what a simulation gave: curves over steps or time, paths, spectra."""

import os
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from schnetgeo.viz.figure_file import write_figure


def draw_curves(
    path: str | os.PathLike,
    x: np.ndarray,
    curves: Mapping[str, np.ndarray],
    xlabel: str,
    marker: str = "",
) -> None:
    """Draw one or several curves below each other over the same axis.

    Args:
        path: picture; its ending says which kind.
        x: (n,) common to all.
        curves: (n,) each, by what they are of, unit included.
        xlabel: what `x` is, unit included.
        marker: of matplotlib, for curves of few points.

    Raises:
        InputError: if matplotlib does not know the ending, or the file cannot be written.
    """
    figure = Figure(figsize=(6, 0.6 + 2.2 * len(curves)), layout="constrained")
    rows = figure.subplots(len(curves), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (label, values) in zip(rows, curves.items(), strict=True):
        ax.plot(x, values, marker=marker, markersize=3, linewidth=1)
        ax.set_ylabel(label)
    rows[-1].set_xlabel(xlabel)
    write_figure(figure, path)


def draw_spectrum(
    path: str | os.PathLike,
    wavenumbers: np.ndarray,
    intensities: np.ndarray | None,
    width: float = 10.0,
) -> None:
    """Draw lines at wavenumbers, and where there are intensities their sum as Lorentzians.

    Args:
        path: picture.
        wavenumbers: (M,) cm⁻¹; those that are not above 0 are left out.
        intensities: (M,) km/mol; `None` draws lines of equal height.
        width: of a line at half of its height, cm⁻¹.

    Raises:
        InputError: as `draw_curves`.
    """
    figure = Figure(figsize=(7, 3), layout="constrained")
    ax, real = figure.subplots(), wavenumbers > 0
    places = wavenumbers[real]
    heights = np.ones(len(places)) if intensities is None else intensities[real]
    ax.vlines(places, 0, heights, linewidth=1)
    ax.set(xlabel="wavenumber, cm⁻¹", ylim=(0, None))
    if intensities is None:
        ax.set_yticks([])
    else:
        ax.set_ylabel("intensity, km/mol")
        x = np.linspace(0, 1.1 * max(places, default=1.0), 2000)
        half = width / 2
        lines = half**2 / ((x[:, None] - places) ** 2 + half**2)
        ax.plot(x, lines @ heights, linewidth=1, color="C1")
    write_figure(figure, path)
