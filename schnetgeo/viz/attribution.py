"""Numbers of atoms and of pairs of atoms, drawn on the structure."""

from collections.abc import Sequence

import numpy as np
from ase.data import chemical_symbols
from jaxtyping import Float, Int
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke

from schnetgeo.viz.show import projection, show

_COLORS = colormaps["RdBu_r"]
_ON_TOP = 2e6  # zorder, over what `show` draws
_WIDEST = 7.0  # points, of the line of the largest value


def draw_atom_values(
    ax: Axes, structure, values: Float[np.ndarray, "N"], title: str, unit: str = "eV"
) -> None:
    """Color each atom by a number, and write it there.

    Args:
        ax: 2D matplotlib axes.
        structure: as `show` takes it.
        values: of the atoms.
        title: above the picture.
        unit: of the values.
    """
    show(structure, ax=ax, title=title)
    ax.get_legend().remove()
    atoms, flat = projection(structure)
    norm = _norm(values)
    for z, (x, y), value in zip(atoms.numbers, flat, values, strict=True):
        color = _COLORS(norm(value))
        ax.add_patch(
            Circle((x, y), 0.36, facecolor=color, edgecolor="0.2", linewidth=0.8, zorder=_ON_TOP)
        )
        text = f"{chemical_symbols[z]}\n{value:.2f}"
        ax.text(
            x, y, text, ha="center", va="center", fontsize=7, zorder=_ON_TOP + 1,
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
        )  # fmt: skip
    _colorbar(ax, norm, unit)


def draw_pair_values(
    ax: Axes,
    structure,
    index: Int[np.ndarray, "2 P"],
    values: Float[np.ndarray, "P"],
    title: str,
    unit: str = "eV",
) -> None:
    """A line for each pair of atoms, the wider and darker the larger its number is.

    Args:
        ax: 2D matplotlib axes.
        structure: as `show` takes it.
        index: atoms of the pairs.
        values: of the pairs.
        title: above the picture.
        unit: of the values.
    """
    show(structure, ax=ax, title=title)
    ax.get_legend().remove()
    atoms, flat = projection(structure)
    norm, order = _norm(values), np.argsort(np.abs(values))
    widths = _WIDEST * np.abs(values) / max(np.abs(values).max(initial=0.0), 1e-12)
    lines = [flat[[i, j]] for i, j in index.T[order]]
    colors = _COLORS(norm(values[order]))
    ax.add_collection(
        LineCollection(lines, linewidths=widths[order], colors=colors, capstyle="round",
                       zorder=_ON_TOP, gid="pairs"), autolim=False,
    )  # fmt: skip
    for z, (x, y) in zip(atoms.numbers, flat, strict=True):
        ax.text(
            x, y, chemical_symbols[z], ha="center", va="center", fontsize=8, zorder=_ON_TOP + 1,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip
    _colorbar(ax, norm, unit)


def draw_filters(
    ax: Axes, distance: Float[np.ndarray, "R"], curves: Sequence[Float[np.ndarray, "R F"]]
) -> None:
    """The root mean square of each layer's filters over channels, by the distance.

    Args:
        ax: 2D matplotlib axes.
        distance: in Å.
        curves: filters of the layers.
    """
    for number, curve in enumerate(curves, start=1):
        ax.plot(distance, np.sqrt((curve**2).mean(1)), label=f"layer {number}")
    ax.set(xlabel="distance, Å", ylabel="|f(r) W(r)|", title="filters, RMS over channels")
    ax.set_xlim(distance[0], distance[-1])
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False)
    ax.spines[["top", "right"]].set_visible(False)


def explanation_figure(
    structure,
    atom_energies: Float[np.ndarray, "N"],
    occlusion: Float[np.ndarray, "N"],
    pair_index: Int[np.ndarray, "2 P"],
    pair_values: Float[np.ndarray, "P"],
    distance: Float[np.ndarray, "R"],
    curves: Sequence[Float[np.ndarray, "R F"]],
) -> Figure:
    """Four pictures of what a model makes of a structure."""
    figure = Figure((11, 9), dpi=130, layout="constrained")
    axes = figure.subplots(2, 2)
    draw_atom_values(axes[0, 0], structure, atom_energies, "learned energy of each atom")
    draw_atom_values(axes[0, 1], structure, occlusion, "change when the atom is taken away")
    total = f"pairs, integrated gradients: {pair_values.sum():.3f} eV"
    draw_pair_values(axes[1, 0], structure, pair_index, pair_values, total)
    draw_filters(axes[1, 1], distance, curves)
    return figure


def _norm(values: Float[np.ndarray, "N"]) -> Normalize:
    """From blue for negative to red for positive numbers, white at 0."""
    largest = max(float(np.abs(values).max(initial=0.0)), 1e-12)
    return TwoSlopeNorm(0.0, -largest, largest)


def _colorbar(ax: Axes, norm: Normalize, unit: str) -> None:
    mappable = ScalarMappable(norm, _COLORS)
    bar = ax.get_figure().colorbar(mappable, ax=ax, shrink=0.7, pad=0.02)
    bar.set_label(unit)
