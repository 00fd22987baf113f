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
from schnetgeo.engine.program import ModelProgram, without_dead_operations
from schnetgeo.ops import memory
from schnetgeo.ops.threads import run


class Assembled(NamedTuple):
    """A model's program in tables."""

    layout: Layout
    matrices: np.ndarray  # (P, 5), of `Matrix`
    atoms: Code
    filters: Code
    filter_outputs: np.ndarray  # registers
    channels: np.ndarray  # of all filters before each one

    @classmethod
    def of(cls, program: ModelProgram, shapes: list[tuple[int, ...]]) -> "Assembled":
        """The tables of a program whose parameters have these shapes."""
        program = ModelProgram(*map(without_dead_operations, program))
        layout = lay_out(shapes, [program.filters, program.atoms])
        outputs = program.filters.outputs
        widths = [program.filters.registers[register].channels for register in outputs]
        matrices = np.array([*layout.matrices.values()], np.int64).reshape(-1, 5)
        return cls(
            layout, matrices, assemble(program.atoms, layout), assemble(program.filters, layout),
            np.array(outputs, np.int64), np.cumsum([0, *widths]),
        )  # fmt: skip


class Tape(NamedTuple):
    """What the backward pass needs of a forward pass."""

    model: Model
    filters: Model
    filter_values: np.ndarray
    values: np.ndarray
    basis: np.ndarray


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
) -> tuple[Tape, np.ndarray, np.ndarray, np.ndarray]:
    """A tape, results of structures (B,), and edge gradients (E,) and (E, 3) or (0, 3).

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
            filters, code.filter_outputs, code.filters.tape, basis, filter_values, first, last
        )

    if len(code.filter_outputs):
        run(tabulate, threads)
    model = Model(*code.atoms[:2], flat, packed, tables, code.channels, knots)
    tape, *results = evaluate(code, model, batch, gradients)
    return (Tape(model, filters, filter_values, tape, basis), *results)


def evaluate(
    code: Assembled, model: Model, batch: Batch, gradients: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The values of registers, and what `forward` gives, of a model with its tables."""
    dtype, edges, tasks = model.flat.dtype, batch.edges, batch.blocks.tasks
    width = code.atoms.tape_with_adjoints if gradients else code.atoms.tape
    tape = memory.empty((width * len(batch.z),), dtype)
    energy = np.empty(len(batch.blocks.ptr) - 1, dtype)
    radial, angular = np.zeros(len(edges.source), dtype), np.zeros(edges.unit.shape, dtype)

    def evaluate_blocks(task: int) -> None:
        forward_blocks(
            model, code.atoms.output, batch, width, gradients, tape, energy, radial, angular,
            tasks[task], tasks[task + 1],
        )  # fmt: skip

    run(evaluate_blocks, len(tasks) - 1)
    return tape, energy, radial, angular


def backward(
    code: Assembled, tape: Tape, batch: Batch, energy_bar: np.ndarray, radial_bar: np.ndarray,
    angular_bar: np.ndarray, gradients: bool,
) -> np.ndarray:  # fmt: skip
    """Gradients of all parameters, one after the other.

    Args:
        code, batch, gradients: as for `forward`, which gave the tape.
        energy_bar: ∂L/∂ results (B,).
        radial_bar, angular_bar: ∂L/∂ edge gradients, (E,) and (E, 3) or (0, 3).
    """
    tangents = Tangents(radial_bar, angular_bar)
    tasks, dtype = batch.blocks.tasks, tape.values.dtype
    threads = len(tasks) - 1
    flat = memory.rows(threads, code.layout.size, dtype)
    tables = memory.rows(threads, len(tape.model.tables), dtype)
    space = memory.rows(threads, code.atoms.workspace * batch.blocks.max_atoms, dtype)
    width = code.atoms.tape_with_adjoints if gradients else code.atoms.tape

    def reverse_blocks(task: int) -> None:
        gradient_blocks(
            tape.model, code.atoms.output, batch, width, gradients, tape.values, energy_bar,
            tangents, space[task], Gradients(flat[task], tables[task]), tasks[task],
            tasks[task + 1],
        )  # fmt: skip

    run(reverse_blocks, threads)
    chunks = -(-(len(tape.basis) - 2) // KNOTS)
    filter_space = memory.rows(threads, code.filters.workspace * (KNOTS + 2), dtype)

    def reverse_filters(task: int) -> None:
        first, last = task * chunks // threads, (task + 1) * chunks // threads
        filter_gradients(
            tape.filters, code.filter_outputs, code.filters.tape, tape.basis, tape.filter_values,
            tables, filter_space[task], flat[task], first, last,
        )  # fmt: skip

    if len(code.filter_outputs):
        run(reverse_filters, threads)
    for task in range(1, threads):
        flat[0] += flat[task]
    return flat[0, : code.layout.size]
