"""The content of HDF5 datasets, of which no more is read than the file holds."""

import os

import numpy as np

from schnetgeo.errors import InputError
from schnetgeo.files import MOST_PACKED

_SMALL = 2**20  # bytes that need no storage
_AT_ONCE = 2**28  # bytes of texts that are read at once


class ValueReader:
    """Reads the datasets of one file.

    A dataset of texts refers to places in the file, all of them perhaps to the same one, and says
    nowhere how long they are. So the texts of a file together may have as many bytes as the file.

    Args:
        path: of the file.

    Raises:
        InputError: names the group, the dataset and what is wrong with it.
    """

    def __init__(self, path: str | os.PathLike):
        self.size = max(1, os.path.getsize(path))
        self.left = _SMALL + self.size  # bytes of texts

    def read(self, place: str, key: str, item) -> np.ndarray:
        """Numbers, or texts as objects, which take no more than each of them needs."""
        size = item.size * item.dtype.itemsize
        if item.external or item.is_virtual:
            raise InputError(f"{place}: {key} lies in another file; put all into one file")
        if size > _SMALL and size > MOST_PACKED * item.id.get_storage_size():
            raise InputError(
                f"{place}: {key} claims {size:,} bytes, more than are stored; get a fresh copy"
            )
        if not is_plain(item):
            raise InputError(
                f"{place}: {key} holds lists of different lengths; write it as numbers or texts, "
                f"or leave it out with drop=({key!r},)"
            )
        return self._texts(place, key, item) if item.dtype.kind == "O" else np.asarray(item[()])

    def repeat(self, place: str, key: str, value: np.ndarray, count: int) -> np.ndarray:
        """One number or text as many times, which will be written so often."""
        value = value.reshape(1)
        if value.dtype.kind in "OS":
            self._take(place, key, count * len(value[0]))
            value = value.astype(object)
        return np.repeat(value, count)

    def _texts(self, place: str, key: str, item) -> np.ndarray:
        out = np.empty(item.size, object)
        if not item.shape:
            out[0] = self._text(place, key, item[()])
            return out.reshape(())
        width = max(1, item.size // max(1, len(item)))
        step = max(1, _AT_ONCE // (self.size * width))  # rows, if each text were the whole file
        for first in range(0, len(item), step):
            block = item[first : first + step].reshape(-1)
            for k, text in enumerate(block, first * width):
                out[k] = self._text(place, key, text)
        return out.reshape(item.shape)

    def _text(self, place: str, key: str, text: bytes | str) -> str:
        self._take(place, key, len(text))
        return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)

    def _take(self, place: str, key: str, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise InputError(
                f"{place}: {key} holds longer texts than the file can; get a fresh copy, or leave "
                f"it out with drop=({key!r},)"
            )


def is_plain(item) -> bool:
    """Whether a dataset holds numbers or texts, no lists or references."""
    import h5py

    return item.dtype.kind != "O" or h5py.check_string_dtype(item.dtype) is not None
