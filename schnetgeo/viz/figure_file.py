"""Pictures of matplotlib as files."""

import io
import os
from pathlib import Path

from matplotlib.figure import Figure

from schnetgeo.errors import InputError
from schnetgeo.files import atomic_write


def write_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Write a figure, whole or not at all, as the ending of the path says."""
    buffer = io.BytesIO()
    try:
        figure.savefig(buffer, format=Path(path).suffix.removeprefix(".") or "png", dpi=150)
    except ValueError as error:
        raise InputError(f"{path}: cannot be written: {error}") from None
    atomic_write(path, buffer.getvalue())
