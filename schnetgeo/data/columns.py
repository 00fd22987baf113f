"""A folder of arrays that grow together: an addition is there as a whole, or not at all.

Each array is a file of plain numbers without a header of its own; `header.json` says how many of
its rows count. It is replaced last, so what an interrupted addition left behind is never read, and
the next addition cuts it off.
"""

import contextlib
import json
import math
import mmap
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from schnetgeo.errors import InputError
from schnetgeo.files import locked, write_whole

HEADER = "header.json"
_FORMAT, _VERSION = "schnetgeo columns", 1
# a private mapping may exceed the memory if the system is told not to reserve it
_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0


def read_header(folder: str | os.PathLike) -> dict:
    """What the folder holds: "columns" with type, shape of a row and rows of each, and more.

    Raises:
        InputError: if there is no such folder, or it was not written by this package, or is newer.
    """
    path = Path(folder) / HEADER
    try:
        header = json.loads(path.read_bytes())
        known = header["format"] == _FORMAT
    except FileNotFoundError:
        raise InputError(
            f"{folder}: is no data store: it has no {HEADER}; make one with schnetgeo data convert"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); convert the data again") from None
    if not known or header["version"] > _VERSION:
        raise InputError(
            f"{path}: has format {header['format']!r}, version {header.get('version')}; this is "
            f"{_FORMAT!r}, version {_VERSION}: upgrade schnetgeo or convert the data again"
        )
    return header


def map_columns(folder: str | os.PathLike, header: dict) -> dict[str, Tensor]:
    """The arrays as tensors that the system reads from the files when they are looked at.

    Writing into such a tensor changes a private copy, not the file.

    Raises:
        InputError: if a file is missing or shorter than the header says.
    """
    return {name: _map(Path(folder) / name, c) for name, c in header["columns"].items()}


def _map(path: Path, column: dict) -> Tensor:
    dtype, shape = np.dtype(column["dtype"]), (column["rows"], *column["shape"])
    size = _size(column)
    try:
        found = path.stat().st_size
        if found < size:
            raise InputError(
                f"{path}: holds {found} bytes where {HEADER} says {size}: the file was cut off; "
                "get a fresh copy or convert the data again"
            )
        if not size:
            return torch.from_numpy(np.empty(shape, dtype))
        with path.open("rb") as file:
            flags, access = mmap.MAP_PRIVATE | _NO_RESERVE, mmap.PROT_READ | mmap.PROT_WRITE
            memory = mmap.mmap(file.fileno(), size, flags=flags, prot=access)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror}; get a fresh copy or convert the data again"
        ) from None
    return torch.from_numpy(np.frombuffer(memory, dtype).reshape(shape))


class Arrays:
    """The arrays of a folder while they grow."""

    def __init__(self, folder: Path, columns: dict[str, dict], where: Path):
        self.folder, self.where = folder, where
        self.columns = {name: dict(column) for name, column in columns.items()}
        self._before = {name: _size(column) for name, column in columns.items()}
        self._files = {}

    def rows(self, name: str) -> int:
        """Rows of an array so far; 0 of one that is not there."""
        return self.columns[name]["rows"] if name in self.columns else 0

    def append(self, name: str, rows: np.ndarray) -> None:
        """Add rows to an array; a first one decides type and shape of all that follow.

        Raises:
            InputError: if the rows do not fit those before, or the disk is full.
        """
        shape = list(rows.shape[1:])
        if name not in self.columns and not self._before:
            self.columns[name] = {"dtype": rows.dtype.str, "shape": shape, "rows": 0}
        column = self.columns.get(name)
        if column is None:
            raise InputError(
                f"{self.where}: has no {name!r}; leave it out, or convert all data together"
            )
        if shape != column["shape"] or not np.can_cast(rows.dtype, column["dtype"], "safe"):
            before = f"{column['dtype']} and shape {column['shape']}"
            raise InputError(
                f"{name} has type {rows.dtype.str} and shape {shape} a row, but {before} in the "
                "structures before; give all structures one type, the widest one first"
            )
        with _explained(self.where):
            if name not in self._files:
                self._files[name] = file = (self.folder / name).open("ab")
                file.truncate(self._before.get(name, 0))
            self._files[name].write(np.ascontiguousarray(rows, column["dtype"]).tobytes())
        column["rows"] += len(rows)

    def close(self) -> None:
        """Bring everything to the disk."""
        with _explained(self.where):
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())
                file.close()

    def cut_back(self) -> None:
        """Leave the files as they were in the beginning."""
        for name, file in self._files.items():
            with contextlib.suppress(OSError):  # what could not be written before
                file.close()
            os.truncate(self.folder / name, self._before.get(name, 0))


@contextlib.contextmanager
def created(folder: str | os.PathLike, notes: dict, wait: bool = False) -> Iterator[Arrays]:
    """Fill a new folder; whatever happens inside the block, it is whole or absent.

    Args:
        folder: must not exist.
        notes: more for the header.
        wait: for another process that makes the same folder, instead of raising.

    Raises:
        InputError: if the folder exists, another process makes it, or the disk is full.
    """
    folder = Path(folder)
    part = folder.with_name(f".{folder.name}.part")
    with locked(folder, wait):
        if folder.exists():
            raise InputError(f"{folder}: exists already; remove it or choose another name")
        try:
            with _explained(folder):
                shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
                part.mkdir()
            arrays = Arrays(part, {}, folder)
            yield arrays
            arrays.close()
            _write_header(part, arrays.columns, notes)
            with _explained(folder):
                os.rename(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def extended(folder: str | os.PathLike, wait: bool = False) -> Iterator[Arrays]:
    """Append to the arrays of a folder; if the block fails they stay as they were.

    Raises:
        InputError: if another process is writing and `wait` is not set, or the disk is full.
    """
    folder = Path(folder)
    with locked(folder, wait):
        header = read_header(folder)
        arrays = Arrays(folder, header["columns"], folder)
        try:
            yield arrays
            arrays.close()
            _write_header(folder, arrays.columns, header)
        except BaseException:
            arrays.cut_back()
            raise


def _size(column: dict) -> int:
    """Bytes that count."""
    return np.dtype(column["dtype"]).itemsize * math.prod([column["rows"], *column["shape"]])


def _write_header(folder: Path, columns: dict, notes: dict) -> None:
    header = {**notes, "format": _FORMAT, "version": _VERSION, "columns": columns}
    write_whole(folder / HEADER, json.dumps(header, indent=1, ensure_ascii=False).encode())


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written: {error.strerror}; what was there before is kept"
        ) from None
