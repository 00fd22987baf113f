"""How functions of this package are compiled for the CPU, and how many threads run them."""

import numba
import torch
from numba import njit

# Numba's pool of threads, when it starts, sets how many OpenMP gives to torch too
_before = torch.get_num_threads()
numba.get_num_threads()
torch.set_num_threads(_before)


def match_threads() -> None:
    """Use as many threads as torch does."""
    threads = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
    if threads != numba.get_num_threads():
        numba.set_num_threads(threads)


OPTIONS = dict(
    cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"}
)
parallel, serial = njit(parallel=True, **OPTIONS), njit(**OPTIONS)
