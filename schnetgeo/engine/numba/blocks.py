"""Structures of a batch cut into blocks of atoms, and blocks shared among threads.

For each block, tables and weights come from the outer cache again, and what one operation passes on
to the next stays in the inner one.
"""

from typing import NamedTuple

import numpy as np

from schnetgeo.ops.jit import allocating, inner

_BLOCK = 192  # atoms
_ATOM = 8  # work of an atom, in edges
_MAX_IMBALANCE = 1.25  # of the mean share of the work that one thread may have
_SMALL = 1000  # work that one thread may have anyway, as much as a few molecules
# below which one thread is faster: OpenMP's of torch's optimizer still spin on the other cores
_WORK_OF_THREAD = 5000


class Blocks(NamedTuple):
    """Structures in a row, cut into blocks, which threads share."""

    ptr: np.ndarray  # (B + 1,) first atom of each structure
    first: np.ndarray  # (blocks + 1,) first structure of each block
    tasks: np.ndarray  # (threads + 1,) first block of each thread
    max_atoms: int  # of a block


def useful_threads(atoms: int, edges: int, threads: int) -> int:
    """How many of the threads are worth waking."""
    return min(threads, 1 + (_ATOM * atoms + edges) // _WORK_OF_THREAD)


@inner
def is_block_diagonal(z, ptr, source, row_pointers, reverse, max_z):
    """Whether structures follow each other, edges stay in them, and each pair has two edges.

    And whether all atomic numbers lie in 1 … `max_z` − 1.
    """
    if ptr.shape[0] < 2 or ptr[0] != 0 or ptr[-1] != z.shape[0]:
        return False
    for i in range(z.shape[0]):
        if not 0 < z[i] < max_z:
            return False
    for b in range(ptr.shape[0] - 1):  # all of them first: the way to the last may lead outside
        if ptr[b + 1] < ptr[b]:
            return False
    for b in range(ptr.shape[0] - 1):
        for e in range(row_pointers[ptr[b]], row_pointers[ptr[b + 1]]):
            other = reverse[e]
            if not ptr[b] <= source[e] < ptr[b + 1] or other == e or reverse[other] != e:
                return False
    return True


@allocating
def partition(ptr, row_pointers, threads):
    """`Blocks` of about equal work but for `ptr`.

    `first` begins with −1 where threads cannot share it, as of a large crystal.
    """
    structures = ptr.shape[0] - 1
    first, tasks = np.zeros(structures + threads + 1, np.int64), np.zeros(threads + 1, np.int64)
    total, blocks, b = _work(ptr, row_pointers, structures), 0, 0
    for task in range(threads):
        begin, goal = b, total * (task + 1) / threads
        while (
            b < structures
            and _work(ptr, row_pointers, b) + _work(ptr, row_pointers, b + 1) <= 2 * goal
        ):
            b += 1  # as long as the middle of a structure lies before the goal
        share = _work(ptr, row_pointers, b) - _work(ptr, row_pointers, begin)
        if share > _MAX_IMBALANCE * total / threads + _SMALL:
            first[0] = -1
        atoms = ptr[b] - ptr[begin]
        size = atoms / max(1, np.ceil(atoms / _BLOCK))
        for s in range(begin, b):
            if s + 1 == b or ptr[s + 1] - ptr[first[blocks]] >= size:
                blocks += 1
                first[blocks] = s + 1
        tasks[task + 1] = blocks
    max_atoms = 0
    for block in range(blocks):
        max_atoms = max(max_atoms, ptr[first[block + 1]] - ptr[first[block]])
    return first[: blocks + 1], tasks, max_atoms


@inner
def _work(ptr, row_pointers, structures):
    """Measure of the work for so many structures."""
    return _ATOM * ptr[structures] + row_pointers[ptr[structures]]
