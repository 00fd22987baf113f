"""The compiled passes over blocks of atoms and over chunks of knots."""

from schnetgeo.engine.numba.backward import Gradients, Tangents, gradient_block, tangent_block
from schnetgeo.engine.numba.edge_kernels import EdgeArrays
from schnetgeo.engine.numba.interpreter import forward_block, transpose_block
from schnetgeo.engine.numba.registers import numbers_of, rows_of
from schnetgeo.engine.numba.rows import copy, fill
from schnetgeo.engine.numba.views import view
from schnetgeo.ops.compiled_bspline import add_coefficient_adjoint, coefficient
from schnetgeo.ops.jit import inner, serial, standalone

KNOTS = 46  # coefficients of a chunk, from two samples more: rows of eight tiles


@serial
def pack(flat, matrices, packed):
    """Copy each weight (out, in) to where it lies as (in, out) and as (out, in)."""
    for m in range(matrices.shape[0]):
        first, rows, columns, weight, transposed = matrices[m]
        for r in range(rows):
            for c in range(columns):
                packed[transposed + r * columns + c] = flat[first + r * columns + c]
        for c in range(columns):
            for r in range(rows):
                packed[weight + c * rows + r] = flat[first + r * columns + c]


@inner
def _no_edges(integers, numbers):
    none, rows = view(integers, 0, (0,)), view(numbers, 0, (0, 4))
    return EdgeArrays(none, none, none, none, rows, rows, view(numbers, 0, (0, 3)))


@serial
def build_tables(model, outputs, width, basis, values, first, last):
    """Run the filters on some chunks of the knots, and write the coefficients of their tables."""
    z, edges = outputs, _no_edges(outputs, values)
    knots = basis.shape[0] - 2
    for chunk in range(first, last):
        begin, end = chunk * KNOTS, min((chunk + 1) * KNOTS, knots)
        n = end + 2 - begin
        inputs = basis[begin : end + 2]
        start = chunk * (KNOTS + 2) * width
        tape = values[start : start + n * width]
        forward_block(model, edges, z, inputs, tape, (0, n))
        for q in range(outputs.shape[0]):
            register = model.registers[outputs[q]]
            samples = rows_of(tape, register.value, register, n)
            place = model.channels[q] * knots
            for m in range(n - 2):
                row = place + (begin + m) * register.channels
                coefficient(samples, m, model.tables[row : row + register.channels])


@serial
def filter_gradients(model, outputs, width, basis, values, tables, workspace, flat, first, last):
    """Add to the gradient of all parameters what comes through some chunks of the knots.

    Args:
        model, outputs, width, basis, values: as for `build_tables`, after it.
        tables: gradients of the coefficients, one row for each thread.
        workspace: memory for one chunk, and for a weight that multiplies the basis functions.
        flat: the gradient.
        first, last: chunks.
    """
    z, edges = outputs, _no_edges(outputs, values)
    tangents = Tangents(view(values, 0, (0,)), edges.unit)
    knots = basis.shape[0] - 2
    for chunk in range(first, last):
        begin, end = chunk * KNOTS, min((chunk + 1) * KNOTS, knots)
        n = end + 2 - begin
        inputs = basis[begin : end + 2]
        start = chunk * (KNOTS + 2) * width
        tape = values[start : start + n * width]
        for q in range(outputs.shape[0]):
            register = model.registers[outputs[q]]
            fill(workspace.dtype.type(0), numbers_of(workspace, register.gradient, register, n))
        for q in range(outputs.shape[0]):
            register = model.registers[outputs[q]]
            gradient = rows_of(workspace, register.gradient, register, n)
            channels = register.channels
            place = model.channels[q] * knots + begin * channels
            for task in range(tables.shape[0]):
                bar = tables[task, place : place + (n - 2) * channels].reshape(n - 2, channels)
                for m in range(n):
                    add_coefficient_adjoint(bar, m, gradient[m])
        gradient_block(
            model, edges, z, inputs, tangents, False, tape, workspace, (0, n),
            Gradients(flat, tables[0]),
        )  # fmt: skip


@serial
def forward_blocks(
    model, outputs, energy_register, batch, width, gradients, tape, results, first, last
):
    """Results and edge gradients of some blocks, `executor.Results`."""
    ptr, starts = batch.blocks.ptr, batch.blocks.first
    inputs = view(tape, 0, (0, 0))
    for block in range(first, last):
        atoms = ptr[starts[block]], ptr[starts[block + 1]]
        n = atoms[1] - atoms[0]
        block_tape = tape[atoms[0] * width : atoms[1] * width]
        forward_block(model, batch.edges, batch.z, inputs, block_tape, atoms)
        copy_results(model, outputs, block_tape, atoms, batch.z.shape[0], results.values)
        if energy_register < 0:
            continue
        register = model.registers[energy_register]
        y = numbers_of(block_tape, register.value, register, n)
        for b in range(starts[block], starts[block + 1]):
            total = tape.dtype.type(0)
            for i in range(ptr[b], ptr[b + 1]):
                total += batch.atom_weights[i] * y[i - atoms[0]]
            results.energy[b] = total
        if gradients and register.moves:
            adjoint = numbers_of(block_tape, register.adjoint, register, n)
            for i in range(n):
                adjoint[i] = batch.atom_weights[atoms[0] + i]
            transpose_block(model, batch.edges, block_tape, atoms, results.radial, results.angular)


@standalone
def copy_results(model, outputs, tape, atoms, count, values):
    """Write a block's results to those of all `count` atoms, one result after the other."""
    n, place = atoms[1] - atoms[0], 0
    for q in range(outputs.shape[0]):
        register = model.registers[outputs[q]]
        size = register.channels * register.components
        out = view(values, place + atoms[0] * size, (n * size,))
        copy(numbers_of(tape, register.value, register, n), out)
        place += count * size


@standalone
def _set_gradients(model, outputs, values_bar, atoms, count, workspace):
    """Begin with the gradients for all results, 0 where there are none."""
    n, place = atoms[1] - atoms[0], 0
    for q in range(outputs.shape[0]):
        register = model.registers[outputs[q]]
        size = register.channels * register.components
        gradient = numbers_of(workspace, register.gradient, register, n)
        if values_bar.shape[0]:
            copy(view(values_bar, place + atoms[0] * size, (n * size,)), gradient)
        else:
            fill(workspace.dtype.type(0), gradient)
        place += count * size


@serial
def gradient_blocks(
    model, outputs, energy_register, batch, width, gradients_of_edges, tape, energy_bar,
    values_bar, tangents, workspace, gradients, first, last,
):  # fmt: skip
    """Gradients of parameters and tables from some blocks."""
    ptr, starts = batch.blocks.ptr, batch.blocks.first
    inputs = view(tape, 0, (0, 0))
    fill(tape.dtype.type(0), gradients.flat)
    fill(tape.dtype.type(0), gradients.tables)
    for block in range(first, last):
        atoms = ptr[starts[block]], ptr[starts[block + 1]]
        n = atoms[1] - atoms[0]
        block_tape = tape[atoms[0] * width : atoms[1] * width]
        _set_gradients(model, outputs, values_bar, atoms, batch.z.shape[0], workspace)
        with_tangents = False
        if energy_register >= 0:
            register = model.registers[energy_register]
            with_tangents = gradients_of_edges and register.moves != 0
            gradient = numbers_of(workspace, register.gradient, register, n)
            for b in range(starts[block], starts[block + 1]):
                for i in range(ptr[b], ptr[b + 1]):
                    gradient[i - atoms[0]] += batch.atom_weights[i] * energy_bar[b]
        if with_tangents:
            tangent_block(model, batch.edges, tangents, block_tape, workspace, atoms)
        gradient_block(
            model, batch.edges, batch.z, inputs, tangents, with_tangents, block_tape, workspace,
            atoms, gradients,
        )  # fmt: skip
