"""How functions of this package are compiled for the CPU, and how many threads run them."""

from collections.abc import Callable

import numba
import torch
from numba import njit

from schnetgeo.ops.kernel_cache import KernelCache
from schnetgeo.ops.symbols import by_symbol


def match_threads() -> None:
    """Use as many threads as torch does."""
    wanted = torch.get_num_threads()
    threads = min(wanted, numba.config.NUMBA_NUM_THREADS)
    if threads != numba.get_num_threads():
        numba.set_num_threads(threads)
    if torch.get_num_threads() != wanted:  # Numba's pool, when it starts, sets it for OpenMP
        torch.set_num_threads(wanted)


OPTIONS = dict(nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"})


def serial(function: Callable, parallel: bool = False) -> Callable:
    """Compile a function when it is first called, once for all processes."""
    kernel = njit(parallel=parallel, **OPTIONS)(function)
    kernel._cache = KernelCache(function)
    return kernel


def parallel(function: Callable) -> Callable:
    """The same, with iterations of `prange` on several threads."""
    return serial(function, parallel=True)


def standalone(function: Callable) -> Callable:
    """The same for a function that kernels call, and that none of them contains.

    A call of a `serial` function compiles it once more as a part of its caller, and of the caller's
    caller. That is good for a line or two, which are then inlined, and for nothing else.
    """
    return by_symbol(serial(function))
