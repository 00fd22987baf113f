"""Compiled functions on several threads that sleep while they wait for work.

The functions release Python's lock, so Python's threads run them side by side. OpenMP's threads
would spin until the last one is done, which takes long where another process holds its core.
"""

import functools
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch

_PATIENCE = 1e-3  # s, for which a thread that is done first asks again and again


def num_threads() -> int:
    """As many as torch uses."""
    return torch.get_num_threads()


def run(task: Callable[[int], None], count: int) -> None:
    """Call task(0) … task(count − 1), the first on this thread, and wait for all."""
    if count == 1:
        task(0)
        return
    others = [_pool().submit(task, k) for k in range(1, count)]
    try:
        task(0)
    finally:
        for other in others:
            _wait(other)
    for other in others:
        other.result()


def _wait(future: Future) -> None:
    """Until it is done: to be woken would take longer than most tasks of a small batch."""
    end = time.perf_counter() + _PATIENCE
    while not future.done() and time.perf_counter() < end:
        time.sleep(0)
    future.exception()


def _pool() -> ThreadPoolExecutor:
    return _pool_of_process(os.getpid())


@functools.lru_cache(1)  # a process made by fork has none of its parent's threads
def _pool_of_process(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, os.cpu_count() or 1), thread_name_prefix="schnetgeo")
