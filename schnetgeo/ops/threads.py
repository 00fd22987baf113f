"""Compiled functions on several threads that sleep while they wait.

The functions release Python's lock, so Python's threads run them side by side. OpenMP's threads
would spin until the last one is done, which takes long where another process holds its core.
"""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch


def num_threads() -> int:
    """As many as torch uses."""
    return torch.get_num_threads()


def run(task: Callable[[int], None], count: int) -> None:
    """Call task(0) … task(count − 1), the first on this thread, and wait for all."""
    if count == 1:
        task(0)
        return
    others = [_pool().submit(task, k) for k in range(1, count)]
    task(0)
    for other in others:
        other.result()


def _pool() -> ThreadPoolExecutor:
    return _pool_of_process(os.getpid())


@functools.lru_cache(1)  # a process made by fork has none of its parent's threads
def _pool_of_process(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, os.cpu_count() or 1), thread_name_prefix="schnetgeo")
