"""A program on the CPU: compiled code interprets its tables, over one block after the other.

What operations pass on to each other stays in the cache, threads meet once per pass, and no time
goes into dispatch. Large batches and single molecules take the same way.
"""

from typing import NamedTuple

import numpy as np

from schnetgeo.engine.numba.backward import Gradients, Tangents
from schnetgeo.engine.numba.blocks import Blocks
from schnetgeo.engine.numba.edge_kernels import EdgeArrays
from schnetgeo.engine.numba.instructions import Code, Layout, assemble, lay_out
from schnetgeo.engine.numba.passes import (
    KNOTS,
    build_tables,
    filter_gradients,
    forward_blocks,
    gradient_blocks,
    pack,
)
from schnetgeo.engine.numba.registers import Model
from schnetgeo.engine.numba.structures import Measured
from schnetgeo.engine.program import ModelProgram, Program, is_directed, live_operations
from schnetgeo.ops import memory
from schnetgeo.ops.threads import run


class Assembled(NamedTuple):
    """A model's program in tables."""

    layout: Layout
    matrices: np.ndarray  # (P, 5), of `Matrix`
    atoms: Code
    filters: Code
    channels: np.ndarray  # of all filters before each one
    is_directed: bool  # whether a convolution looks at the directions of edges
    shapes: list[tuple[int, int]]  # components and channels of each result of the atoms

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """The results of the atoms (N, components, channels) from one array."""
        count, end, parts = len(values) // self.atoms.results, 0, []
        for components, channels in self.shapes:
            start, end = end, end + count * components * channels
            parts.append(values[start:end].reshape(count, components, channels))
        return parts

    @classmethod
    def of(cls, program: ModelProgram, shapes: list[tuple[int, ...]]) -> "Assembled":
        """The tables of a program whose parameters have these shapes."""
        atoms, filters = map(_live, program[:2])
        layout = lay_out(shapes, [filters, atoms])
        widths = [filters.registers[register].channels for register in filters.outputs]
        matrices = np.array([*layout.matrices.values()], np.int64).reshape(-1, 5)
        results = [atoms.registers[register] for register in atoms.outputs]
        return cls(
            layout, matrices, assemble(atoms, layout, program.energy), assemble(filters, layout),
            np.cumsum([0, *widths]), is_directed(atoms.operations),
            [(register.components, register.channels) for register in results],
        )  # fmt: skip


def _live(program: Program) -> Program:
    return program._replace(operations=live_operations(program, program.outputs))


class Tape(NamedTuple):
    """What the backward pass needs of a forward pass."""

    model: Model
    filters: Model
    filter_values: np.ndarray
    values: np.ndarray
    width: int  # of the values of an atom
    basis: np.ndarray


class Results(NamedTuple):
    """What a forward pass gives."""

    energy: np.ndarray  # (B,)
    radial: np.ndarray  # edge gradients (E,), at the first edge of each pair
    angular: np.ndarray  # (E, 3), or (0, 3)
    values: np.ndarray  # of the atoms, (N, components, channels) of one result after the other

    @classmethod
    def empty(cls, code: Assembled, batch: "Batch", dtype: np.dtype) -> "Results":
        """Memory for them, 0 but for the values."""
        count, edges = len(batch.z), len(batch.distance)
        return cls(
            np.zeros(len(batch.blocks.ptr) - 1, dtype), np.zeros(edges, dtype),
            np.zeros((edges if code.is_directed else 0, 3), dtype),
            np.empty(code.atoms.results * count, dtype),
        )  # fmt: skip


class Batch(NamedTuple):
    """Atoms and edges as compiled code takes them."""

    z: np.ndarray  # (N,)
    atom_weights: np.ndarray  # (N,) what an atom counts in the result of its structure
    edges: EdgeArrays
    distance: np.ndarray  # (E,) Å
    blocks: Blocks

    @classmethod
    def of(
        cls, measured: Measured, atom_weights: np.ndarray, interval: np.ndarray,
        weights: np.ndarray, derivatives: np.ndarray,
    ) -> "Batch":  # fmt: skip
        """The atoms and edges of structures.

        Args:
            measured: the structures.
            atom_weights: what each atom counts in the result of its structure (N,).
            interval, weights, derivatives: see `EdgeArrays`.
        """
        structures = measured.structures
        edges = EdgeArrays(
            structures.source, measured.row_pointers, structures.reverse, interval, weights,
            derivatives, measured.unit,
        )  # fmt: skip
        return cls(structures.z, atom_weights, edges, measured.distance, measured.blocks)


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
    width = code.atoms.tape_with_adjoints if gradients else code.atoms.tape
    tape = memory.empty((width * len(batch.z),), dtype)
    results, tasks = Results.empty(code, batch, dtype), batch.blocks.tasks

    def evaluate_blocks(task: int) -> None:
        forward_blocks(
            model, code.atoms.outputs, code.atoms.energy, batch, width, gradients, tape, results,
            tasks[task], tasks[task + 1],
        )  # fmt: skip

    run(evaluate_blocks, threads)
    return Tape(model, filters, filter_values, tape, width, basis), results


def backward(
    code: Assembled, tape: Tape, batch: Batch, energy_bar: np.ndarray, values_bar: np.ndarray,
    tangents: Tangents | None,
) -> np.ndarray:  # fmt: skip
    """Gradients of all parameters, one after the other.

    Args:
        code, batch: as for `forward`, which gave the tape.
        energy_bar, values_bar: gradients of a loss for energies and values; no values are 0.
        tangents: the same for edge gradients; `None` is 0.
    """
    moves = tangents is not None
    tangents = tangents if moves else Tangents(batch.distance[:0], batch.edges.unit[:0])
    tasks, dtype = batch.blocks.tasks, tape.values.dtype
    threads = len(tasks) - 1
    flat = memory.rows(threads, code.layout.size, dtype)
    tables = memory.rows(threads, len(tape.model.tables), dtype)
    space = memory.rows(threads, code.atoms.workspace * batch.blocks.max_atoms, dtype)

    def reverse_blocks(task: int) -> None:
        gradient_blocks(
            tape.model, code.atoms.outputs, code.atoms.energy, batch, tape.width, moves,
            tape.values, energy_bar, values_bar, tangents, space[task],
            Gradients(flat[task], tables[task]), tasks[task], tasks[task + 1],
        )  # fmt: skip

    run(reverse_blocks, threads)
    chunks = -(-(len(tape.basis) - 2) // KNOTS)
    widest = int(code.filters.registers["channels"].max(initial=0))
    size = code.filters.workspace * (KNOTS + 2) + tape.basis.shape[1] * widest
    filter_space = memory.rows(threads, size, dtype)

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
