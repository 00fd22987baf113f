"""The arrays of an .npz archive, whose sizes are compared with the file before they are read."""

import contextlib
import math
import os
import sys
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from schnetgeo.errors import InputError
from schnetgeo.files import MOST_PACKED

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0,
}  # fmt: skip


def read_members(path: str | os.PathLike, skip: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Arrays of an .npz archive by name, without pickled objects.

    Args:
        path: the file.
        skip: names of arrays that are not read.

    Raises:
        InputError: for what is no such archive, or not a whole one, or claims more than it holds.
    """
    arrays = {}
    with _opened(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name not in skip:
                with _reading(path, name):
                    arrays[name] = _read(archive, member)
    return arrays


def shapes_in(path: str | os.PathLike) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays of an .npz archive by name, without reading them.

    Raises:
        InputError: for what is no such archive, or not a whole one.
    """
    shapes = {}
    with _opened(path) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            with _reading(path, name), archive.open(member) as stream:
                shapes[name] = _header(stream)[0]
    return shapes


def text_in(path: str | os.PathLike, name: str) -> str:
    """A text that an .npz holds under this name, such as "theory"; empty where there is none."""
    if Path(path).suffix != ".npz":
        return ""
    others = shapes_in(path).keys() - {name}
    values = read_members(path, skip=others).get(name)
    return "" if values is None else text_of(values)


def text_of(values: np.ndarray) -> str:
    """An array of one text, which some programs write as bytes; empty for other arrays."""
    if values.size != 1 or values.dtype.kind not in "US":
        return ""
    value = values.item()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[zipfile.ZipFile]:
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file; check the name")
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"{path}: not an .npz archive, or not a whole one; get a fresh copy, or give the file "
            "the ending of what it is"
        )
    with _reading(path, ""), zipfile.ZipFile(path) as archive:
        yield archive


@contextlib.contextmanager
def _reading(path: str | os.PathLike, name: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # zipfile, the decompressors and NumPy fail in many ways
        array = f"array {name!r:.50} " if name else ""
        raise InputError(
            f"{path}: {array}cannot be read ({type(error).__name__}: {str(error)[:150]}); get a "
            "fresh copy, or save it again as plain arrays, without pickled objects"
        ) from None


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.file_size > MOST_PACKED * (member.compress_size + 1):
        raise ValueError(
            f"it claims {member.file_size:,} bytes, more than {member.compress_size:,} packed ones "
            "can hold"
        )
    with archive.open(member) as stream:
        shape, _, dtype = _header(stream)
        size, rest = math.prod(shape) * dtype.itemsize, member.file_size - stream.tell()
        if not dtype.hasobject and (size != rest or (dtype.itemsize == 0 and shape)):
            raise ValueError(f"shape {shape} takes {size:,} bytes, but there are {rest:,}")
    with archive.open(member) as stream:
        values = np.lib.format.read_array(stream, allow_pickle=False)
    # NumPy keeps whatever 32 bits there are and fails where they become a string
    if dtype.kind == "U" and dtype.itemsize and values.size:
        letters = np.ascontiguousarray(values, dtype.newbyteorder("=")).reshape(-1).view(np.uint32)
        if letters.max() > sys.maxunicode:
            raise ValueError("it holds text that is not Unicode")
    return values


def _header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"version {version} of the format is none of plain arrays")
    return _HEADERS[version](stream)
