"""Arrays that begin at a cache line, so that no vector of their numbers lies in two.

The memory of large ones is used again: fresh memory costs a page fault for every page.
"""

import math
import threading
import weakref

import numpy as np
import torch

_LINE = 64  # bytes of a cache line
_SMALL = 2**20  # bytes, up to which the system's own allocator does the same
_MOST = 16  # buffers that wait for their next use
_lock = threading.RLock()  # again by the same thread: collecting garbage gives back, any time
_waiting: list[np.ndarray] = []


def empty(shape: tuple[int, ...], dtype) -> np.ndarray:
    """As `np.empty`; when the last view of the array is gone, its memory waits for another call."""
    count = math.prod(shape)
    size = count * np.dtype(dtype).itemsize
    if size <= _SMALL:
        return _lines(size).view(dtype).reshape(shape)
    buffer = _take(size)
    array = np.frombuffer(memoryview(buffer), dtype, count)
    weakref.finalize(array, _give_back, buffer).atexit = False
    return array.reshape(shape)


def rows(count: int, least: int, dtype) -> np.ndarray:
    """So many rows of at least so many numbers, each of which begins at a line."""
    line = _LINE // np.dtype(dtype).itemsize
    return empty((count, -(-least // line) * line), dtype)


def _lines(size: int) -> np.ndarray:
    # torch begins at a line, unlike NumPy
    return torch.empty(size, dtype=torch.uint8, device="cpu").numpy()


def _take(size: int) -> np.ndarray:
    with _lock:
        for k, buffer in enumerate(_waiting):
            if size <= buffer.size <= 2 * size:
                return _waiting.pop(k)
    return _lines(size + size // 4)  # the next batch may be a little larger


def _give_back(buffer: np.ndarray) -> None:
    with _lock:
        _waiting.append(buffer)
        del _waiting[:-_MOST]
