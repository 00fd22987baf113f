"""A folder of arrays that grow together: an addition is there as a whole, or not at all.

Each array is a file of plain numbers without a header of its own; `header.json` says how many of
its rows count, and their CRC-32. It is replaced last, so what an interrupted addition left behind
is never read, and the next addition cuts it off.
"""

import contextlib
import json
import math
import mmap
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from schnetgeo.data.names import check_name
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_write, file_lock

HEADER = "header.json"
_FORMAT, _VERSION = "schnetgeo columns", 2
_OFFSETS = ("ptr", "edge_ptr")  # files that are no field of a structure
_DTYPES = {np.dtype(code).str for code in "?bBhHiIqQefd"}
# a private mapping may exceed the memory if the system is told not to reserve it
_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0


def read_header(folder: str | os.PathLike) -> dict:
    """What the folder holds: "columns" with type, shape of a row and rows of each, and more.

    Raises:
        InputError: if there is no such folder, or it was not written by this package, was changed
            since, or is newer.
    """
    path = Path(folder) / HEADER
    try:
        header = json.loads(path.read_bytes())
        known = header["format"] == _FORMAT and isinstance(header["version"], int)
    except FileNotFoundError:
        raise InputError(
            f"{folder}: is no data store: it has no {HEADER}; make one with schnetgeo data convert"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}); convert the data again") from None
    if not known or header["version"] != _VERSION:
        raise InputError(
            f"{path}: has format {header['format']!r:.50}, version {header['version']!r:.50}; "
            f"this is {_FORMAT!r}, version {_VERSION}: upgrade schnetgeo, or remove the folder and "
            "convert or fetch the data again"
        )
    if header.pop("crc32", None) != _header_sum(header):
        raise InputError(f"{path}: was changed after writing; get a fresh copy, or convert again")
    columns = header.get("columns")
    if not isinstance(columns, dict) or not isinstance(header.get("notes", {}), dict):
        raise InputError(f"{path}: has no columns, or no notes; convert the data again")
    for name, column in columns.items():
        _check_column(name, column, path)
    return header


def map_columns(folder: str | os.PathLike, header: dict) -> dict[str, Tensor]:
    """The arrays as tensors that the system reads from the files when they are looked at.

    Writing into such a tensor changes a private copy, not the file.

    Raises:
        InputError: if a file is missing or shorter than the header says.
    """
    return {name: _map(_file(folder, name), c) for name, c in header["columns"].items()}


def check_content(folder: str | os.PathLike, header: dict) -> None:
    """Raise `InputError` unless every array has the CRC-32 of what was written, at 2.5 GB/s."""
    for name, column in header["columns"].items():
        path = _file(folder, name)
        content = _map(path, column).numpy()
        if zlib.crc32(content.reshape(-1).view(np.uint8)) != column["crc32"]:
            raise InputError(
                f"{path}: was changed after writing, or is damaged: its CRC-32 is not that in "
                f"{HEADER}; get a fresh copy or convert the data again"
            )


def content_size(header: dict) -> int:
    """Bytes of all arrays."""
    return sum(_size(column) for column in header["columns"].values())


def _check_column(name: str, column: object, where: Path) -> None:
    """Raise `InputError` unless this is what `ColumnWriter` notes of a column."""
    if name not in _OFFSETS:
        check_name(name.removesuffix(".ptr").removesuffix(".text"), str(where))
    keys = {"dtype", "shape", "rows", "crc32"}
    if isinstance(column, dict) and column.keys() == keys and isinstance(column["shape"], list):
        numbers = column["rows"], column["crc32"], *column["shape"]
        whole = all(type(number) is int and number >= 0 for number in numbers)
        if whole and column["dtype"] in _DTYPES:
            return
    raise InputError(f"{where}: {name!r} is no column of numbers; convert the data again")


def _file(folder: str | os.PathLike, name: str) -> Path:
    """Where a column is: in the folder itself, whatever it is called and whatever links there."""
    path = Path(folder) / name
    if path.resolve().parent != Path(folder).resolve():
        raise InputError(f"{folder}: the column {name!r:.60} is elsewhere; do not trust this store")
    return path


def _map(path: Path, column: dict) -> Tensor:
    dtype, shape = np.dtype(column["dtype"]), (column["rows"], *column["shape"])
    size = _size(column)
    try:
        on_disk = path.stat().st_size
        if on_disk < size:
            raise InputError(
                f"{path}: holds {on_disk} bytes where {HEADER} says {size}: the file was cut off; "
                "get a fresh copy or convert the data again"
            )
        if not size:
            return torch.from_numpy(np.empty(shape, dtype))
        with path.open("rb") as file:
            flags, access = mmap.MAP_PRIVATE | _NO_RESERVE, mmap.PROT_READ | mmap.PROT_WRITE
            memory = mmap.mmap(file.fileno(), size, flags=flags, prot=access)
    except (OSError, ValueError) as error:  # ValueError for shapes that no array has
        raise InputError(
            f"{path}: cannot be read: {getattr(error, 'strerror', error)}; get a fresh copy or "
            "convert the data again"
        ) from None
    return torch.from_numpy(np.frombuffer(memory, dtype).reshape(shape))


class ColumnWriter:
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
            self.columns[name] = {"dtype": rows.dtype.str, "shape": shape, "rows": 0, "crc32": 0}
            _check_column(name, self.columns[name], self.where)
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
        content = np.ascontiguousarray(rows, column["dtype"]).tobytes()
        with _os_errors_as_input_errors(self.where):
            if name not in self._files:
                self._files[name] = file = _file(self.folder, name).open("ab")
                file.truncate(self._before.get(name, 0))
            self._files[name].write(content)
        column["rows"] += len(rows)
        column["crc32"] = zlib.crc32(content, column["crc32"])

    def set_aside(self, name: str) -> Path:
        """Begin anew with no arrays; what was written becomes a folder inside this one."""
        folder = self.folder / name
        self.close()
        with _os_errors_as_input_errors(self.where):
            folder.mkdir()
            for column in self.columns:
                os.replace(_file(self.folder, column), folder / column)
        _write_header(folder, self.columns, {})
        self.columns, self._files = {}, {}
        return folder

    def close(self) -> None:
        """Bring everything to the disk."""
        with _os_errors_as_input_errors(self.where):
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())
                file.close()

    def rollback(self) -> None:
        """Leave the files as they were in the beginning."""
        for name, file in self._files.items():
            with contextlib.suppress(OSError):  # what could not be written before
                file.close()
            os.truncate(_file(self.folder, name), self._before.get(name, 0))


def append_offsets(arrays: ColumnWriter, name: str, sizes: np.ndarray, rows: int) -> None:
    """Where each structure ends, after so many rows of those before."""
    if not arrays.rows(name):
        arrays.append(name, np.zeros(1, np.int64))
    arrays.append(name, rows + sizes.cumsum())


@contextlib.contextmanager
def create_columns(
    folder: str | os.PathLike, notes: dict, wait: bool = False
) -> Iterator[ColumnWriter]:
    """Fill a new folder; whatever happens inside the block, it is whole or absent.

    Args:
        folder: must not exist.
        notes: more for the header.
        wait: for another process that makes the same folder, instead of raising.

    Raises:
        InputError: if the folder exists, another process makes it, or the disk is full.
    """
    folder = Path(folder)
    part = folder.parent / f".{folder.name}.part"
    with file_lock(folder, wait):
        if folder.exists():
            raise InputError(f"{folder}: exists already; remove it or choose another name")
        try:
            with _os_errors_as_input_errors(folder):
                shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
                part.mkdir()
            arrays = ColumnWriter(part, {}, folder)
            yield arrays
            arrays.close()
            _write_header(part, arrays.columns, notes)
            with _os_errors_as_input_errors(folder):
                os.rename(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def append_columns(folder: str | os.PathLike, wait: bool = False) -> Iterator[ColumnWriter]:
    """Append to the arrays of a folder; if the block fails they stay as they were.

    Raises:
        InputError: if another process is writing and `wait` is not set, or the disk is full.
    """
    folder = Path(folder)
    with file_lock(folder, wait):
        header, before = read_header(folder), (folder / HEADER).read_bytes()
        arrays = ColumnWriter(folder, header["columns"], folder)
        try:
            yield arrays
            arrays.close()
            _write_header(folder, arrays.columns, header)
        except BaseException:
            if (folder / HEADER).read_bytes() == before:  # else all is there, such as at a Ctrl-C
                arrays.rollback()
            raise


def _size(column: dict) -> int:
    """Bytes that count."""
    return np.dtype(column["dtype"]).itemsize * math.prod([column["rows"], *column["shape"]])


def _write_header(folder: Path, columns: dict, notes: dict) -> None:
    header = {**notes, "format": _FORMAT, "version": _VERSION, "columns": columns}
    header["crc32"] = _header_sum(header)
    atomic_write(folder / HEADER, json.dumps(header, indent=1, ensure_ascii=False).encode())


def _header_sum(header: dict) -> int:
    return zlib.crc32(json.dumps(header, sort_keys=True).encode())


@contextlib.contextmanager
def _os_errors_as_input_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written: {error.strerror}; what was there before is kept"
        ) from None
