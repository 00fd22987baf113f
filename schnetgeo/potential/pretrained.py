"""Models that ship with the package, by name."""

import difflib
import os
from importlib.resources import files
from pathlib import Path

from schnetgeo.errors import InputError

FOLDER = Path(str(files("schnetgeo") / "pretrained"))
_SUFFIX = ".safetensors"


def pretrained_names() -> list[str]:
    """Names that `load` knows, such as "qm9-u0"."""
    return sorted(path.stem for path in FOLDER.glob(f"*{_SUFFIX}"))


def located(path: str | os.PathLike) -> str | os.PathLike:
    """The file of a pretrained model for its name, and any other path as it is.

    Raises:
        InputError: for a word that is neither a file nor a name; suggests the nearest name.
    """
    is_word = isinstance(path, str) and Path(path).name == path and not Path(path).suffix
    if not is_word or Path(path).exists():
        return path
    names = pretrained_names()
    if path in names:
        return FOLDER / f"{path}{_SUFFIX}"
    near = difflib.get_close_matches(path.lower(), names, n=1, cutoff=0.5)
    guess = f"did you mean {near[0]!r}? " if near else ""
    raise InputError(
        f"{path}: no such file, and no pretrained model; {guess}there are {', '.join(names)}"
    )
