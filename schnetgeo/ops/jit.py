"""How functions of this package are compiled for the CPU, and how many threads run them."""

import numba
import torch
from numba import njit


def match_threads() -> None:
    """Use as many threads as torch does."""
    wanted = torch.get_num_threads()
    threads = min(wanted, numba.config.NUMBA_NUM_THREADS)
    if threads != numba.get_num_threads():
        numba.set_num_threads(threads)
    if torch.get_num_threads() != wanted:  # Numba's pool, when it starts, sets it for OpenMP
        torch.set_num_threads(wanted)


OPTIONS = dict(
    cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"}
)
parallel, serial = njit(parallel=True, **OPTIONS), njit(**OPTIONS)
