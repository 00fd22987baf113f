"""Whether errors are as large as the uncertainties say."""

import os

import numpy as np
from matplotlib.figure import Figure

from schnetgeo.viz.figure_file import write_figure

_BINS = 10


def draw_reliability(
    curves: dict[str, tuple[np.ndarray, np.ndarray]], path: str | os.PathLike
) -> None:
    """Draw root mean square errors over standard deviations, beside the diagonal.

    Structures, or force components, are sorted by their standard deviation into ten groups of the
    same number. A model is too sure of those above the diagonal.

    Args:
        curves: errors and standard deviations by what they are of, unit included.
        path: picture; its ending says which kind.

    Raises:
        InputError: if matplotlib does not know the ending, or the file cannot be written.
    """
    figure = Figure(figsize=(4.2 * len(curves), 4), layout="constrained")
    axes = figure.subplots(1, len(curves), squeeze=False)[0]
    for ax, (label, (errors, std)) in zip(axes, curves.items(), strict=True):
        predicted, actual = reliability_curve(errors, std)
        ends = min(predicted.min(), actual.min()) / 1.3, max(predicted.max(), actual.max()) * 1.3
        ax.loglog(ends, ends, "--", color="0.6")
        ax.loglog(predicted, actual, "o-", color="C0")
        ax.set(xlim=ends, ylim=ends, aspect="equal", title=label)
        ax.set(xlabel="standard deviation that is predicted", ylabel="root mean square error")
    write_figure(figure, path)


def reliability_curve(errors: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Root mean squares of standard deviations and of errors in groups sorted by the first."""
    groups = np.array_split(np.argsort(std, kind="stable"), min(_BINS, len(std)))
    pairs = [(_rms(std[group]), _rms(errors[group])) for group in groups]
    return tuple(np.array(pairs).T)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
