"""Structures and their edges as arrays, checked and measured before a program runs."""

from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.data.edges import reverse_edges
from schnetgeo.data.graph import sort_edges
from schnetgeo.engine.numba.blocks import Blocks, is_block_diagonal, partition, useful_threads
from schnetgeo.ops import threads
from schnetgeo.ops.compiled_edges import first_edges
from schnetgeo.ops.jit import allocating, inner

SMALLEST = 1e-10  # Å, below which an edge has no direction
_NO_SHIFT, _NO_CELL = np.empty((0, 3), np.int64), np.empty((0, 3, 3))


class Structures(NamedTuple):
    """Atoms of structures in a row, and their edges j → i."""

    z: np.ndarray  # (N,)
    pos: np.ndarray  # (N, 3) float64, Å
    ptr: np.ndarray  # (B + 1,) first atom of each structure
    source: np.ndarray  # (E,)
    target: np.ndarray  # (E,)
    reverse: np.ndarray  # (E,)
    shift: np.ndarray  # (E, 3) lattice vectors that each edge crosses, or (0, 3)
    cell: np.ndarray  # (B, 3, 3) float64, Å, or (0, 3, 3)

    @classmethod
    def of(cls, data: Data) -> "Structures | None":
        """Those of data on the CPU with edges; `None` for others than `measure` takes."""
        fields = data.to_dict()  # at once: PyG looks for each in several places
        z, edge_index, shift = fields["z"], fields["edge_index"], fields.get("edge_shift")
        reverse, cell, ptr = fields.get("edge_reverse"), fields.get("cell"), _pointers(fields)
        if ptr is None:
            return None
        if reverse is None:
            shifts = edge_index.new_zeros(edge_index.size(1), 3) if shift is None else shift
            reverse = reverse_edges(edge_index, shifts, z.numel())
        if shift is not None and cell is None and not shift.any():
            shift = None
        if reverse.dim() != 1 or not (shift is None or _fit(shift, cell, edge_index, len(ptr) - 1)):
            return None
        return cls(
            _integers(z), _numbers(fields["pos"]), ptr, *_integers(edge_index),
            _integers(reverse), _NO_SHIFT if shift is None else _integers(shift),
            _NO_CELL if shift is None else _numbers(cell),
        )  # fmt: skip


def _fit(shift: Tensor, cell: Tensor | None, edge_index: Tensor, count: int) -> bool:
    if cell is None or shift.shape != (edge_index.size(1), 3):
        return False
    return cell.shape == (count, 3, 3)


def _integers(tensor: Tensor) -> np.ndarray:
    return tensor.long().contiguous().numpy()


def _numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().contiguous().numpy()


def _pointers(fields: dict) -> np.ndarray | None:
    """First atom of each structure; `None` where atoms of one are apart."""
    ptr, batch = fields.get("ptr"), fields.get("batch")
    if ptr is not None:
        return _integers(ptr)
    if batch is None:
        return np.array([0, fields["z"].numel()])
    batch = _integers(batch)
    if (np.diff(batch) < 0).any():
        return None
    return np.concatenate([[0], np.bincount(batch).cumsum()])


class Measured(NamedTuple):
    """Structures whose edges are sorted, symmetric, and stay in their structure."""

    structures: Structures
    row_pointers: np.ndarray  # (N + 1,) first edge of each atom
    blocks: Blocks
    distance: np.ndarray  # (E,) Å
    unit: np.ndarray  # (E, 3) from target to source, 0 for an edge without length


def measured_structures(
    data: Data, max_z: int, dtype: np.dtype, alone: bool = False
) -> Measured | None:
    """Structures with edges as `measure` gives them, sorted if they were not."""
    structures = Structures.of(data)
    measured = structures and measure(structures, max_z, dtype, alone)
    if measured is None and (ordered := sort_edges(data)) is not data:
        return measured_structures(ordered, max_z, dtype, alone)
    return measured


def measure(
    structures: Structures, max_z: int, dtype: np.dtype, alone: bool = False
) -> Measured | None:
    """Lengths and directions of edges, and blocks of structures that threads share.

    `None` where edges are not sorted by target, lack their reverse, or lead to other structures,
    where `ptr` does not cut the atoms, and where positions are not finite.

    Args:
        structures: of which nothing is taken for granted.
        max_z: atomic numbers must lie below.
        dtype: of the lengths.
        alone: let one thread take structures that several cannot share, such as a large crystal,
            for which the result is `None` otherwise.
    """
    count = len(structures.source)
    useful = useful_threads(len(structures.z), count, threads.num_threads())
    distance, unit = np.empty(count, dtype), np.empty((count, 3), dtype)
    row_pointers, *blocks = _measure(structures, max_z, useful, alone, distance, unit)
    if row_pointers[0] < 0:
        return None
    return Measured(structures, row_pointers, Blocks(structures.ptr, *blocks), distance, unit)


@allocating
def _measure(structures, max_z, num_threads, alone, distance, unit):
    """Row pointers, −1 first where there are none, and the rest of `Blocks`."""
    z, ptr, source, reverse = structures.z, structures.ptr, structures.source, structures.reverse
    start = first_edges(source, structures.target, reverse, structures.shift, z.shape[0])
    first = tasks = start[:0]
    max_atoms = 0
    if start[0] >= 0 and not is_block_diagonal(z, ptr, source, start, reverse, max_z):
        start[0] = -1
    for x in structures.pos.ravel():
        if not np.isfinite(x):
            start[0] = -1
    if start[0] >= 0:
        first, tasks, max_atoms = partition(ptr, start, num_threads)
        if first[0] < 0 and alone:
            first, tasks, max_atoms = partition(ptr, start, 1)
        if first[0] < 0:
            start[0] = -1
    if start[0] >= 0:
        for b in range(ptr.shape[0] - 1):
            _measure_structure(structures, start, b, distance, unit)
    return start, first, tasks, max_atoms


@inner
def _measure_structure(structures, start, b, distance, unit):
    pos, shift = structures.pos, structures.shift
    for i in range(structures.ptr[b], structures.ptr[b + 1]):
        for e in range(start[i], start[i + 1]):
            j = structures.source[e]
            # the difference comes first: then the vector of the reverse edge is exactly −r_e
            x, y, z = pos[j, 0] - pos[i, 0], pos[j, 1] - pos[i, 1], pos[j, 2] - pos[i, 2]
            if shift.shape[0]:
                cell = structures.cell[b]
                x += shift[e, 0] * cell[0, 0] + shift[e, 1] * cell[1, 0] + shift[e, 2] * cell[2, 0]
                y += shift[e, 0] * cell[0, 1] + shift[e, 1] * cell[1, 1] + shift[e, 2] * cell[2, 1]
                z += shift[e, 0] * cell[0, 2] + shift[e, 1] * cell[1, 2] + shift[e, 2] * cell[2, 2]
            r = np.sqrt(x * x + y * y + z * z)
            inverse = 1 / max(r, SMALLEST)
            distance[e] = r
            unit[e, 0], unit[e, 1], unit[e, 2] = x * inverse, y * inverse, z * inverse
