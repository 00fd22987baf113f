"""What kind of file a file is: as the user says, by its first bytes, or by its ending."""

from pathlib import Path

import ase.db
import ase.io.formats

from schnetgeo.datasets.extxyz import looks_like_xyz
from schnetgeo.errors import InputError

_SQLITE = b"SQLite format 3\0"
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ENDINGS = {
    ".npz": "npz", ".xyz": "extxyz", ".extxyz": "extxyz", ".exyz": "extxyz", ".db": "db",
    ".json": "json", ".h5": "hdf5", ".hdf5": "hdf5", ".h5md": "hdf5",
}  # fmt: skip
_COMPRESSED = (".gz", ".bz2", ".xz")
_SAME = {"xyz": "extxyz", "exyz": "extxyz", "sqlite": "db", "sqlite3": "db", "h5": "hdf5"}
OWN = ("npz", "extxyz", "db", "json", "hdf5")  # formats that are not read with ase.io


def file_format(path: Path, format: str | None = None) -> str | None:
    """One of `OWN`, a format of `ase.io`, or `None`, which leaves the choice to ASE.

    Args:
        path: the file.
        format: what the user says, such as "extxyz".

    Raises:
        InputError: for a folder, a file that is not there, or a format that nobody knows.
    """
    if path.is_dir():
        remedy = (
            "it is a store: open it with schnetgeo.data.store.OnDiskDataset"
            if (path / "header.json").is_file()
            else "name the files in it"
        )
        raise InputError(f"{path}: is a folder, not a file; {remedy}")
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the name")
    if format is not None:
        return _checked(path, _SAME.get(format, format))
    start = _start(path)
    if start.startswith(_SQLITE):
        return "db"
    if start.startswith(_HDF5):
        return "hdf5"
    name = path.name.lower()
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    known = _ENDINGS.get(Path(name).suffix)
    return known or ("extxyz" if looks_like_xyz(path) else None)


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(16)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _checked(path: Path, format: str) -> str:
    if format not in OWN and format not in ase.io.formats.ioformats:
        raise InputError(
            f"{path.name}: unknown format {format!r:.50}; give format='extxyz', 'npz', 'db' or "
            "one of ASE's (ase info --formats)"
        )
    return format
