"""A program on the CPU: compiled code interprets its tables, over one block after the other.

What operations pass on to each other stays in the cache, threads meet once per pass, and no time
goes into dispatch. Large batches and single molecules take the same way.
"""

from typing import NamedTuple

import numpy as np

from schnetgeo.engine.numba.backward import Gradients, Tangents
from schnetgeo.engine.numba.blocks import Blocks, is_block_diagonal, partition
from schnetgeo.engine.numba.edge_kernels import EdgeArrays
from schnetgeo.engine.numba.instructions import Code, Layout, assemble, lay_out
from schnetgeo.engine.numba.interpreter import Model
from schnetgeo.engine.numba.passes import (
    KNOTS,
    build_tables,
    filter_gradients,
    forward_blocks,
    gradient_blocks,
    pack,
)
from schnetgeo.engine.program import ModelProgram, Program, live_operations
from schnetgeo.ops import memory
from schnetgeo.ops.threads import run


class Assembled(NamedTuple):
    """A model's program in tables."""

    layout: Layout
    matrices: np.ndarray  # (P, 5), of `Matrix`
    atoms: Code
    filters: Code
    channels: np.ndarray  # of all filters before each one

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """The results of the atoms (N, components, channels) from one array."""
        rows = self.atoms.registers[self.atoms.outputs]
        shapes = [(-1, int(row["components"]), int(row["channels"])) for row in rows]
        sizes = [components * channels for _, components, channels in shapes]
        count = len(values) // sum(sizes)
        parts = np.split(values, np.cumsum(sizes)[:-1] * count)
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    @classmethod
    def of(cls, program: ModelProgram, shapes: list[tuple[int, ...]]) -> "Assembled":
        """The tables of a program whose parameters have these shapes."""
        atoms, filters = map(_live, program[:2])
        layout = lay_out(shapes, [filters, atoms])
        widths = [filters.registers[register].channels for register in filters.outputs]
        matrices = np.array([*layout.matrices.values()], np.int64).reshape(-1, 5)
        return cls(
            layout, matrices, assemble(atoms, layout, program.energy), assemble(filters, layout),
            np.cumsum([0, *widths]),
        )  # fmt: skip


def _live(program: Program) -> Program:
    return program._replace(operations=live_operations(program, program.outputs))


class Tape(NamedTuple):
    """What the backward pass needs of a forward pass."""

    model: Model
    filters: Model
    filter_values: np.ndarray
    values: np.ndarray
    basis: np.ndarray


class Results(NamedTuple):
    """What a forward pass gives."""

    energy: np.ndarray  # (B,)
    radial: np.ndarray  # edge gradients (E,), at the first edge of each pair
    angular: np.ndarray  # (E, 3), or (0, 3)
    values: np.ndarray  # of the atoms, (N, components, channels) of one result after the other


class Batch(NamedTuple):
    """Atoms and edges as compiled code takes them."""

    z: np.ndarray  # (N,)
    atom_weights: np.ndarray  # (N,) what an atom counts in the result of its structure
    edges: EdgeArrays
    blocks: Blocks


def batch(
    z: np.ndarray, ptr: np.ndarray, atom_weights: np.ndarray, edges: tuple[np.ndarray, ...],
    max_z: int, threads: int,
) -> Batch | None:  # fmt: skip
    """What a program runs on; `None` where threads could not share it.

    That is so for a large crystal, and where edges lead from one structure to another.

    Args:
        z, ptr: atomic numbers (N,), below `max_z`, and the first atom of each structure (B + 1,).
        atom_weights: what each atom counts in the result of its structure (N,).
        edges: see `EdgeArrays`.
        threads: how many will share the work.
    """
    arrays = EdgeArrays(*edges)
    if not is_block_diagonal(z, ptr, *arrays[:3], max_z):
        return None
    blocks = partition(ptr, arrays.row_pointers, threads)
    return None if blocks is None else Batch(z, atom_weights, arrays, blocks)


def forward(
    code: Assembled, flat: np.ndarray, basis: np.ndarray, batch: Batch, gradients: bool
) -> tuple[Tape, Results]:
    """A tape, and what the program gives.

    Args:
        code: the program.
        flat: all parameters, one after the other.
        basis: functions on the knots (M + 2, K).
        batch: atoms and edges.
        gradients: whether edge gradients are wanted; they are 0 otherwise.
    """
    threads, dtype, knots = len(batch.blocks.tasks) - 1, flat.dtype, len(basis) - 2
    packed = memory.empty((code.layout.packed_size,), dtype)
    tables = memory.empty((int(code.channels[-1]) * knots,), dtype)
    chunks = -(-knots // KNOTS)
    filter_values = memory.empty((code.filters.tape * chunks * (KNOTS + 2),), dtype)
    filters = Model(*code.filters[:2], flat, packed, tables, code.channels, knots)
    pack(flat, code.matrices, packed)

    def tabulate(task: int) -> None:
        first, last = task * chunks // threads, (task + 1) * chunks // threads
        build_tables(
            filters, code.filters.outputs, code.filters.tape, basis, filter_values, first, last
        )

    if len(code.filters.outputs):
        run(tabulate, threads)
    model = Model(*code.atoms[:2], flat, packed, tables, code.channels, knots)
    tape, results = _evaluate(code, model, batch, gradients)
    return Tape(model, filters, filter_values, tape, basis), results


def _evaluate(
    code: Assembled, model: Model, batch: Batch, gradients: bool
) -> tuple[np.ndarray, Results]:
    """The values of registers, and what `forward` gives, of a model with its tables."""
    dtype, edges, tasks = model.flat.dtype, batch.edges, batch.blocks.tasks
    width = code.atoms.tape_with_adjoints if gradients else code.atoms.tape
    tape = memory.empty((width * len(batch.z),), dtype)
    energy = np.zeros(len(batch.blocks.ptr) - 1, dtype)
    values = np.empty(code.atoms.results * len(batch.z), dtype)
    radial, angular = np.zeros(len(edges.source), dtype), np.zeros(edges.unit.shape, dtype)

    def evaluate_blocks(task: int) -> None:
        forward_blocks(
            model, code.atoms.outputs, code.atoms.energy, batch, width, gradients, tape, energy,
            values, radial, angular, tasks[task], tasks[task + 1],
        )  # fmt: skip

    run(evaluate_blocks, len(tasks) - 1)
    return tape, Results(energy, radial, angular, values)


def backward(
    code: Assembled, tape: Tape, batch: Batch, bars: Results, gradients: bool
) -> np.ndarray:
    """Gradients of all parameters, one after the other.

    Args:
        code, batch, gradients: as for `forward`, which gave the tape.
        bars: gradients of a loss for the results.
    """
    tangents = Tangents(bars.radial, bars.angular)
    tasks, dtype = batch.blocks.tasks, tape.values.dtype
    threads = len(tasks) - 1
    flat = memory.rows(threads, code.layout.size, dtype)
    tables = memory.rows(threads, len(tape.model.tables), dtype)
    space = memory.rows(threads, code.atoms.workspace * batch.blocks.max_atoms, dtype)
    width = code.atoms.tape_with_adjoints if gradients else code.atoms.tape

    def reverse_blocks(task: int) -> None:
        gradient_blocks(
            tape.model, code.atoms.outputs, code.atoms.energy, batch, width, gradients,
            tape.values, bars.energy, bars.values, tangents, space[task],
            Gradients(flat[task], tables[task]), tasks[task], tasks[task + 1],
        )  # fmt: skip

    run(reverse_blocks, threads)
    chunks = -(-(len(tape.basis) - 2) // KNOTS)
    filter_space = memory.rows(threads, code.filters.workspace * (KNOTS + 2), dtype)

    def reverse_filters(task: int) -> None:
        first, last = task * chunks // threads, (task + 1) * chunks // threads
        filter_gradients(
            tape.filters, code.filters.outputs, code.filters.tape, tape.basis, tape.filter_values,
            tables, filter_space[task], flat[task], first, last,
        )  # fmt: skip

    if len(code.filters.outputs):
        run(reverse_filters, threads)
    for task in range(1, threads):
        flat[0] += flat[task]
    return flat[0, : code.layout.size]
