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


OPTIONS = dict(nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})


_INNER = dict(no_cpython_wrapper=True, no_cfunc_wrapper=True)


def serial(function: Callable, parallel: bool = False) -> Callable:
    """Compile a function when it is first called, once for all processes."""
    kernel = njit(parallel=parallel, **OPTIONS)(function)
    kernel._cache = KernelCache(function, parallel)
    return kernel


def inner(function: Callable) -> Callable:
    """The same for a function that only kernels call: compiled faster, and a part of its caller."""
    return njit(**OPTIONS, **_INNER)(function)


def parallel(function: Callable) -> Callable:
    """The same, with iterations of `prange` on several threads where a process can have them."""
    threaded, alone = serial(function, parallel=True), serial(function)

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
    """The same for a function that kernels call, and that none of them contains.

    A call of an `inner` function compiles it once more as a part of its caller, and of the caller's
    caller. That is good for a line or two, which are then inlined, and for nothing else.
    """
    kernel = njit(**OPTIONS, **_INNER)(function)
    kernel._cache = KernelCache(function, parallel=False)
    return by_symbol(kernel)
