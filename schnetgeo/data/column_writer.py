"""Writing of a folder of arrays: an addition is there as a whole, or not at all.

The header is replaced last, so what an interrupted addition left behind is never read, and the next
addition cuts it off.
"""

import contextlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from schnetgeo.data.columns import (
    FORMAT,
    HEADER,
    VERSION,
    check_column,
    column_path,
    column_size,
    header_checksum,
    read_header,
)
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_write, file_lock


class ColumnWriter:
    """The arrays of a folder while they grow."""

    def __init__(self, folder: Path, columns: dict[str, dict], where: Path):
        self.folder, self.where = folder, where
        self.columns = {name: dict(column) for name, column in columns.items()}
        self._before = {name: column_size(column) for name, column in columns.items()}
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
            check_column(name, self.columns[name], self.where)
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
                self._files[name] = file = column_path(self.folder, name).open("ab")
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
                os.replace(column_path(self.folder, column), folder / column)
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
            os.truncate(column_path(self.folder, name), self._before.get(name, 0))


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


def _write_header(folder: Path, columns: dict, notes: dict) -> None:
    header = {**notes, "format": FORMAT, "version": VERSION, "columns": columns}
    header["crc32"] = header_checksum(header)
    atomic_write(folder / HEADER, json.dumps(header, indent=1, ensure_ascii=False).encode())


@contextlib.contextmanager
def _os_errors_as_input_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written: {error.strerror}; what was there before is kept"
        ) from None
