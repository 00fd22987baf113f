"""A process that compiles on another core what this one will need later.

It writes to the cache of kernels, from where this one loads them. Each compiles what the other has
not claimed, so that nothing is lost if the second process ends early, or cannot be had.
"""

import contextlib
import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence

from numba.core.compiler_lock import global_compiler_lock

from schnetgeo.ops import symbols
from schnetgeo.ops.symbols import Symbol

_END_WITH_PARENT = 1  # PR_SET_PDEATHSIG of prctl


def compile_there(stages: Sequence[list[Symbol]]) -> None:
    """Begin to compile functions and all that they call, one list after the other.

    The process is a fork of this one, which knows all sources and types. It touches neither torch
    nor OpenMP, whose threads it does not have, nor files or objects of this process.
    """
    if not _has_a_core():
        return
    parent = os.getpid()
    # no other thread may hold a lock of LLVM; fork warns of those that may hold others
    with global_compiler_lock, warnings.catch_warnings(), contextlib.suppress(OSError):
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
        if process == 0:
            _compile_and_exit(stages, parent)
        threading.Thread(target=_wait, args=(process,), daemon=True).start()


def _has_a_core() -> bool:
    """Whether a second process is possible and useful; workers of a parent have others already."""
    is_worker = multiprocessing.parent_process() is not None
    return sys.platform == "linux" and not is_worker and len(os.sched_getaffinity(0)) > 1


def _compile_and_exit(stages: Sequence[list[Symbol]], parent: int) -> None:
    try:
        _leave(parent)
        for stage in stages:
            symbols.need(stage)
    finally:
        os._exit(0)


def _leave(parent: int) -> None:
    """Let go of everything that belongs to the parent, and end with it."""
    gc.disable()  # garbage of the parent is collected there
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for file in (0, 1, 2):
        os.dup2(nothing, file)
    for file in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # that of the list itself
            if file > 2:
                os.close(file)


def _wait(process: int) -> None:
    with contextlib.suppress(ChildProcessError):  # somebody else has waited for it
        os.waitpid(process, 0)
