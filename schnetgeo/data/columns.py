"""A folder of arrays: each is a file of plain numbers without a header of its own.

`header.json` says how many rows of each count, and their CRC-32.
"""

import json
import math
import mmap
import os
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from schnetgeo.data.names import check_name
from schnetgeo.errors import InputError

HEADER = "header.json"
FORMAT, VERSION = "schnetgeo columns", 2
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
        known = header["format"] == FORMAT and isinstance(header["version"], int)
    except FileNotFoundError:
        raise InputError(
            f"{folder}: is no data store: it has no {HEADER}; make one with schnetgeo data convert"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}); convert the data again") from None
    if not known or header["version"] != VERSION:
        raise InputError(
            f"{path}: has format {header['format']!r:.50}, version {header['version']!r:.50}; "
            f"this is {FORMAT!r}, version {VERSION}: upgrade schnetgeo, or remove the folder and "
            "convert or fetch the data again"
        )
    if header.pop("crc32", None) != header_checksum(header):
        raise InputError(f"{path}: was changed after writing; get a fresh copy, or convert again")
    columns = header.get("columns")
    if not isinstance(columns, dict) or not isinstance(header.get("notes", {}), dict):
        raise InputError(f"{path}: has no columns, or no notes; convert the data again")
    for name, column in columns.items():
        check_column(name, column, path)
    return header


def map_columns(folder: str | os.PathLike, header: dict) -> dict[str, Tensor]:
    """The arrays as tensors that the system reads from the files when they are looked at.

    Writing into such a tensor changes a private copy, not the file.

    Raises:
        InputError: if a file is missing or shorter than the header says.
    """
    return {name: _map(column_path(folder, name), c) for name, c in header["columns"].items()}


def check_content(folder: str | os.PathLike, header: dict) -> None:
    """Raise `InputError` unless every array has the CRC-32 of what was written, at 2.5 GB/s."""
    for name, column in header["columns"].items():
        path = column_path(folder, name)
        content = _map(path, column).numpy()
        if zlib.crc32(content.reshape(-1).view(np.uint8)) != column["crc32"]:
            raise InputError(
                f"{path}: was changed after writing, or is damaged: its CRC-32 is not that in "
                f"{HEADER}; get a fresh copy or convert the data again"
            )


def content_size(header: dict) -> int:
    """Bytes of all arrays."""
    return sum(column_size(column) for column in header["columns"].values())


def check_column(name: str, column: object, where: Path) -> None:
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


def column_path(folder: str | os.PathLike, name: str) -> Path:
    """Where a column is: in the folder itself, whatever it is called and whatever links there."""
    path = Path(folder) / name
    if path.resolve().parent != Path(folder).resolve():
        raise InputError(f"{folder}: the column {name!r:.60} is elsewhere; do not trust this store")
    return path


def _map(path: Path, column: dict) -> Tensor:
    dtype, shape = np.dtype(column["dtype"]), (column["rows"], *column["shape"])
    size = column_size(column)
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


def column_size(column: dict) -> int:
    """Bytes that count."""
    return np.dtype(column["dtype"]).itemsize * math.prod([column["rows"], *column["shape"]])


def header_checksum(header: dict) -> int:
    return zlib.crc32(json.dumps(header, sort_keys=True).encode())
