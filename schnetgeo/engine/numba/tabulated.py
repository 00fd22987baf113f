"""A program whose filters are constant tables, on the CPU."""

import numpy as np
import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors

from schnetgeo.engine.numba.blocks import partition
from schnetgeo.engine.numba.edge_kernels import EdgeArrays
from schnetgeo.engine.numba.executor import Assembled
from schnetgeo.engine.numba.interpreter import Model
from schnetgeo.engine.numba.passes import pack
from schnetgeo.engine.numba.prediction import Results, Scales, Structures, predict_blocks
from schnetgeo.engine.program import Direction, FilterConv, ModelProgram
from schnetgeo.ops import memory, threads


class TabulatedEnergy:
    """Energies, forces and ∂E/∂strain of structures from their positions.

    Args:
        program: of a model.
        parameters: the tensors that it reads; copied.
        tables: coefficients (M, F) of f(r) W(r) for each filter, on knots from −1 on.
    """

    def __init__(self, program: ModelProgram, parameters: tuple[Tensor, ...], tables: list[Tensor]):
        self._program = program
        self._parameters = [parameter.detach() for parameter in parameters]
        self._tables = tables
        self._build()

    def _build(self) -> None:
        code = Assembled.of(self._program, [tuple(p.shape) for p in self._parameters])
        flat = _aligned(_flatten_dense_tensors(self._parameters))
        packed = memory.empty((code.layout.packed_size,), flat.dtype)
        pack(flat, code.matrices, packed)
        coefficients = _aligned(torch.cat([t.reshape(-1) for t in self._tables]))
        knots = len(self._tables[0])
        convolutions = [o for o in self._program.atoms.operations if isinstance(o, FilterConv)]
        self._is_directed = any(o.direction is not Direction.NONE for o in convolutions)
        self._model = Model(*code.atoms[:2], flat, packed, coefficients, code.channels, knots)
        self._assembled, self._code = code, code.atoms

    def __getstate__(self) -> dict:
        """Without the arrays, which would come out elsewhere on a cache line."""
        names = "_program", "_parameters", "_tables"
        return {name: vars(self)[name] for name in names}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._build()

    def predict(
        self, z: np.ndarray, pos: np.ndarray, ptr: np.ndarray, graph: tuple[np.ndarray, ...],
        offset: np.ndarray, atom_weights: np.ndarray, atomic_references: np.ndarray,
        scales: Scales, stress: bool,
    ) -> Results:  # fmt: skip
        """Results in float64 for energies, and in the type of the model.

        Args:
            z, pos, ptr: atoms (N,), (N, 3), and the first of each structure (B + 1,).
            graph: source (E,), row pointers (N + 1,) and reverse (E,) of sorted edges, which stay
                in their structures.
            offset, atom_weights, atomic_references: see `Structures`.
            scales: see there.
            stress: whether ∂E/∂strain is wanted.
        """
        dtype, count = self._model.flat.dtype, len(graph[0])
        blocks = partition(ptr, graph[1], threads.num_threads())
        if blocks is None:
            blocks = partition(ptr, graph[1], 1)
        interval, weights = np.empty(count, np.int64), np.empty((2, count, 4), dtype)
        edges = EdgeArrays(*graph, interval, *weights, np.empty((count, 3), dtype))
        structures = Structures(z, pos, offset, atom_weights, atomic_references, blocks)
        width, number = self._code.tape_with_adjoints, len(ptr) - 1
        tape = memory.empty((width * len(z),), dtype)
        radial, distance = np.zeros(count, dtype), np.empty(count, dtype)
        angular = np.zeros((count if self._is_directed else 0, 3), dtype)
        results = Results(
            np.zeros(number), np.zeros((len(z), 3), dtype),
            np.zeros((number if stress else 0, 3, 3), dtype),
            np.empty(self._code.results * len(z), dtype),
        )  # fmt: skip

        def predict(task: int) -> None:
            predict_blocks(
                self._model, self._code.outputs, self._code.energy, width, structures, edges,
                scales, tape, radial, angular, distance, results, blocks.tasks[task],
                blocks.tasks[task + 1],
            )  # fmt: skip

        threads.run(predict, len(blocks.tasks) - 1)
        return results


def _aligned(numbers: Tensor) -> np.ndarray:
    """A copy that begins at a cache line, which nothing else moves or frees."""
    values = numbers.detach().numpy()
    out = memory.empty(values.shape, values.dtype)
    out[...] = values
    return out
