"""How functions of this package are compiled for the CPU, and how many threads run them.

Threads do not live on in a process made by `fork`, and GNU OpenMP, which looks after them, hangs
there or ends the process. So a process whose parent had threads has one, for torch too.
"""

import functools
import os
from collections.abc import Callable

import numba
import torch
from numba import njit

from schnetgeo.ops.kernel_cache import KernelCache
from schnetgeo.ops.symbols import by_symbol

_has_lost_threads = False  # whether this process was forked from one that had started threads


def match_threads() -> None:
    """Use as many threads as torch does."""
    _watch_forks()
    wanted = torch.get_num_threads()
    threads = min(wanted, numba.config.NUMBA_NUM_THREADS)
    if threads != numba.get_num_threads():
        numba.set_num_threads(threads)
    if torch.get_num_threads() != wanted:  # Numba's pool, when it starts, sets it for OpenMP
        torch.set_num_threads(wanted)


OPTIONS = dict(
    nogil=True,
    error_model="numpy",
    fastmath={"contract", "reassoc", "nsz", "arcp"},
    no_cfunc_wrapper=True,
)
_INNER = dict(no_cpython_wrapper=True)
# Counting references to arrays is a quarter of the work of compiling. Callers would pass it on.
_MEMORY, _NO_MEMORY = dict(_nrt=True), dict(_nrt=False)


def serial(function: Callable) -> Callable:
    """Compile a function that makes no arrays when it is first called, once for all processes."""
    return _cached(function, **_NO_MEMORY)


def allocating(function: Callable) -> Callable:
    """The same for one that makes arrays."""
    return _cached(function, **_MEMORY)


def _cached(function: Callable, parallel: bool = False, **options: bool) -> Callable:
    kernel = njit(parallel=parallel, **OPTIONS, **options)(function)
    kernel._cache = KernelCache(function, parallel)
    return kernel


def inner(function: Callable) -> Callable:
    """`serial` for a function that only kernels call: compiled faster, and a part of its caller."""
    return njit(**OPTIONS, **_INNER, **_NO_MEMORY)(function)


def part(function: Callable) -> Callable:
    """`inner` for a function that returns a part of an array."""
    return njit(**OPTIONS, **_INNER, **_MEMORY)(function)


def parallel(function: Callable) -> Callable:
    """`allocating`, with iterations of `prange` on several threads if a process can have them."""
    threaded, alone = _cached(function, parallel=True, **_MEMORY), allocating(function)

    @functools.wraps(function)
    def run(*arguments):
        _watch_forks()
        return (alone if _has_lost_threads else threaded)(*arguments)

    return run


@functools.cache
def _watch_forks() -> None:
    os.register_at_fork(after_in_child=_lose_threads)


def _lose_threads() -> None:
    global _has_lost_threads
    _has_lost_threads = True
    torch.set_num_threads(1)


def standalone(function: Callable) -> Callable:
    """`serial` for a function that kernels call, and that none of them contains.

    A call of an `inner` function compiles it once more as a part of its caller, and of the caller's
    caller. That is good for a line or two, which are then inlined, and for nothing else.
    """
    return by_symbol(_cached(function, **_INNER, **_NO_MEMORY))
