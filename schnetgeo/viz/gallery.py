"""Several structures in one picture."""

import math
import os
from collections.abc import Sequence

from matplotlib.figure import Figure

from schnetgeo.data.structure import Structure
from schnetgeo.viz.figure_file import write_figure
from schnetgeo.viz.show import show


def draw_gallery(
    structures: Sequence[Structure], captions: Sequence[str], path: str | os.PathLike
) -> None:
    """Draw structures in rows of four, each below its caption.

    Args:
        structures: one or more.
        captions: a text for each.
        path: picture; its ending says which kind.

    Raises:
        InputError: if matplotlib does not know the ending, or the file cannot be written.
    """
    columns = min(4, len(structures))
    rows = math.ceil(len(structures) / columns)
    figure = Figure(figsize=(3 * columns, 3.1 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    for ax, structure, caption in zip(axes, structures, captions, strict=False):
        keys = [key for key in ("z", "pos", "cell", "pbc") if key in structure]
        show(Structure(**{key: structure[key] for key in keys}), ax=ax, title=caption)
        ax.get_legend().remove()
    write_figure(figure, path)
