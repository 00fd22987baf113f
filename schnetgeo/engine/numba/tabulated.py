"""A program whose filters are constant tables, on the CPU."""

import numpy as np
import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors

from schnetgeo.engine.numba.ahead import compile_ahead
from schnetgeo.engine.numba.derivatives import Derivatives
from schnetgeo.engine.numba.executor import Assembled, Batch, Results
from schnetgeo.engine.numba.passes import pack
from schnetgeo.engine.numba.prediction import EnergyScale, Grid, predict_blocks
from schnetgeo.engine.numba.registers import Model
from schnetgeo.engine.numba.structures import Measured
from schnetgeo.engine.program import ModelProgram
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
        flat = _aligned(_flatten_dense_tensors(self._parameters))
        compile_ahead(self._program, flat.dtype, training=False)
        code = Assembled.of(self._program, [tuple(p.shape) for p in self._parameters])
        packed = memory.empty((code.layout.packed_size,), flat.dtype)
        pack(flat, code.matrices, packed)
        coefficients = _aligned(torch.cat([t.reshape(-1) for t in self._tables]))
        knots = len(self._tables[0])
        self._model = Model(*code.atoms[:2], flat, packed, coefficients, code.channels, knots)
        self._code = code

    def __getstate__(self) -> dict:
        """Without the arrays, which would come out elsewhere on a cache line."""
        names = "_program", "_parameters", "_tables"
        return {name: vars(self)[name] for name in names}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._build()

    def predict(
        self, measured: Measured, atom_weights: np.ndarray, energy_scale: EnergyScale, grid: Grid,
        forces: bool, stress: bool,
    ) -> tuple[np.ndarray, Derivatives, np.ndarray]:  # fmt: skip
        """Energies (B,) in float64, derivatives, and the values y (N,) of the atoms.

        Args:
            measured: structures.
            atom_weights: what each atom counts in the result of its structure (N,).
            energy_scale, grid: see there.
            forces, stress: whether forces and ∂E/∂strain are wanted.
        """
        code, dtype, count = self._code.atoms, self._model.flat.dtype, len(measured.distance)
        width, tasks = code.tape_with_adjoints, measured.blocks.tasks
        size = width * len(atom_weights)
        space = memory.empty((size + 8 * count,), dtype)
        tape, weights = space[:size], space[size:].reshape(2, count, 4)
        interval = np.empty(count, np.int64)
        batch = Batch.of(measured, atom_weights, interval, *weights)
        results = Results.empty(self._code, batch, dtype)
        energy = np.empty(len(results.energy))
        derivatives = Derivatives.zeros(batch.blocks, dtype, forces, stress)

        def predict(task: int) -> None:
            predict_blocks(
                self._model, code.outputs, code.energy, width, batch, grid, energy_scale, tape,
                results, energy, derivatives, tasks[task], tasks[task + 1],
            )  # fmt: skip

        threads.run(predict, len(tasks) - 1)
        (values,) = self._code.split(results.values)
        return energy, derivatives, values.reshape(-1)


def _aligned(numbers: Tensor) -> np.ndarray:
    """A copy that begins at a cache line, which nothing else moves or frees."""
    values = numbers.detach().numpy()
    out = memory.empty(values.shape, values.dtype)
    out[...] = values
    return out
