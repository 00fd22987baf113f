"""The gradient of a loss on the result and on its edge gradients, for a block of atoms, compiled.

With v = ∂L/∂(edge gradients), their part of ∂L/∂θ is ∂/∂θ of the tangent of the result along v. So
tangents t are carried through the program, and Σ ȳ y + Σ w ẏ is reversed with the adjoints a of the
first reverse pass: b is the gradient for a value, and a that for its tangent.
"""

from typing import NamedTuple

import numpy as np

from schnetgeo.engine.numba.edge_kernels import (
    conv,
    conv_tangent,
    table_gradient,
    table_gradient_tangent,
)
from schnetgeo.engine.numba.interpreter import add_channels, nonzero_columns, transpose_rows
from schnetgeo.engine.numba.registers import (
    ACTIVATION,
    AFFINE,
    CONCATENATE,
    CONV,
    EMBEDDING,
    LINEAR,
    MULTIPLY,
    NO_DIRECTION,
    SCALE,
    SHIFT,
    SLICE,
    numbers_of,
    row_of,
    rows_of,
    scratch_of,
    table_of,
    transposed_weight,
    vectors_of,
    weight_rows,
)
from schnetgeo.engine.numba.rows import add_product, add_scaled, copy, fill, multiply_in_place
from schnetgeo.engine.numba.vector_kernels import (
    transposed,
    vector_conv,
    vector_conv_tangent,
    vector_table_gradient,
)
from schnetgeo.engine.numba.views import view
from schnetgeo.ops.dense import add_outer, add_products, add_rows
from schnetgeo.ops.jit import standalone


class Gradients(NamedTuple):
    """Where the gradients of one thread are added up."""

    flat: np.ndarray  # of all parameters
    tables: np.ndarray  # as `Model.tables`


class Tangents(NamedTuple):
    """ṙ_e and u̇_e of the first edge of each pair."""

    distance: np.ndarray  # (E,)
    unit: np.ndarray  # (E, 3), or (0, 3)


@standalone
def tangent_block(model, edges, tangents, tape, workspace, atoms):
    """Tangents of all registers that depend on the edges, in the workspace."""
    n, zero = atoms[1] - atoms[0], tape.dtype.type(0)
    for k in range(model.instructions.shape[0]):
        op = model.instructions[k]
        register = model.registers[op.out]
        if not register.moves:
            if register.tangent >= 0:
                fill(zero, numbers_of(workspace, register.tangent, register, n))
            continue
        out = numbers_of(workspace, register.tangent, register, n)
        argument = model.registers[op.x]
        if op.operation == ACTIVATION:
            first = numbers_of(tape, register.first, register, n)
            copy(numbers_of(workspace, argument.tangent, argument, n), out)
            multiply_in_place(first, out)
            continue
        fill(zero, out)
        if op.operation == CONV:
            _convolve(model, op, edges, tangents, tape, workspace, atoms)
        elif op.operation == LINEAR:
            _linear(model, op, workspace, n)
        elif op.operation == SLICE or op.operation == CONCATENATE:
            _move_channels(model, op, workspace, n)
        else:
            _broadcast(model, op, tape, workspace, n)


@standalone
def _convolve(model, op, edges, tangents, tape, workspace, atoms):
    n = atoms[1] - atoms[0]
    register, argument = model.registers[op.out], model.registers[op.x]
    table = table_of(model, model.tables, op.filter)
    dr, du = tangents.distance, tangents.unit
    if op.option == NO_DIRECTION and register.components == 1:
        x = rows_of(tape, argument.value, argument, n)
        dx = rows_of(workspace, argument.tangent, argument, n)
        out = rows_of(workspace, register.tangent, register, n)
        conv_tangent(x, dx, table, edges, dr, atoms, out)
    else:
        x = vectors_of(tape, argument.value, argument, n)
        dx = vectors_of(workspace, argument.tangent, argument, n)
        out = vectors_of(workspace, register.tangent, register, n)
        rows = scratch_of(tape, op, register, n)
        vector_conv_tangent(op.option, 1, x, dx, table, edges, dr, du, atoms, rows, out)


@standalone
def _linear(model, op, workspace, n):
    register, argument = model.registers[op.out], model.registers[op.x]
    if op.y >= 0:
        residual = model.registers[op.y]
        if residual.moves:
            t = numbers_of(workspace, residual.tangent, residual, n)
            copy(t, numbers_of(workspace, register.tangent, register, n))
    if argument.moves:
        x = rows_of(workspace, argument.tangent, argument, n)
        out = rows_of(workspace, register.tangent, register, n)
        add_products(x, weight_rows(model, op, 0, argument.channels), out)


@standalone
def _move_channels(model, op, workspace, n):
    register, argument = model.registers[op.out], model.registers[op.x]
    out = vectors_of(workspace, register.tangent, register, n)
    if op.operation == SLICE:
        x = vectors_of(workspace, argument.tangent, argument, n)
        add_channels(x, op.option, out, 0, register.channels)
        return
    if argument.moves:
        x = vectors_of(workspace, argument.tangent, argument, n)
        add_channels(x, 0, out, 0, argument.channels)
    other = model.registers[op.y]
    if other.moves:
        y = vectors_of(workspace, other.tangent, other, n)
        add_channels(y, 0, out, argument.channels, other.channels)


@standalone
def _broadcast(model, op, tape, workspace, n):
    register, argument = model.registers[op.out], model.registers[op.x]
    other, one = model.registers[max(op.y, 0)], tape.dtype.type(1)
    out = vectors_of(workspace, register.tangent, register, n)
    if argument.moves:
        dx = vectors_of(workspace, argument.tangent, argument, n)
        if op.operation == MULTIPLY:
            add_product(dx, vectors_of(tape, other.value, other, n), out)
        elif op.operation == SCALE:
            add_product(dx, row_of(model.flat, op.parameter, register.channels), out)
        elif op.operation == AFFINE:
            add_scaled(dx, tape.dtype.type(op.scale), out)
        else:
            add_scaled(dx, one, out)
    if op.y >= 0 and other.moves:
        dy = vectors_of(workspace, other.tangent, other, n)
        if op.operation == MULTIPLY:
            add_product(dy, vectors_of(tape, argument.value, argument, n), out)
        else:
            add_scaled(dy, one, out)


@standalone
def gradient_block(
    model, edges, z, inputs, tangents, with_tangents, tape, workspace, atoms, gradients
):
    """Gradients for parameters and tables, from that for the result on, added to `gradients`.

    Args:
        model, edges, z, inputs, tape, atoms: as for `interpreter.forward_block`.
        tangents: as `tangent_block` took them, if `with_tangents`.
        workspace: with the tangents; the gradient of each result is set.
    """
    n, zero = atoms[1] - atoms[0], tape.dtype.type(0)
    for k in range(model.instructions.shape[0] - 1, -1, -1):
        op = model.instructions[k]
        if op.x_gradient_first:
            x = model.registers[op.x]
            fill(zero, numbers_of(workspace, x.gradient, x, n))
        if op.y_gradient_first:
            y = model.registers[op.y]
            fill(zero, numbers_of(workspace, y.gradient, y, n))
        if op.operation == EMBEDDING:
            _embedding_gradient(model, op, z, workspace, atoms, gradients)
        elif op.operation == LINEAR:
            _linear_gradient(model, op, inputs, with_tangents, tape, workspace, n, gradients)
        elif op.operation == ACTIVATION:
            _activation_gradient(model, op, with_tangents, tape, workspace, n)
        elif op.operation == CONV:
            _conv_gradient(
                model, op, edges, tangents, with_tangents, tape, workspace, atoms, gradients
            )
        else:
            _rows_gradient(model, op, with_tangents, tape, workspace, n, gradients)


@standalone
def _embedding_gradient(model, op, z, workspace, atoms, gradients):
    n = atoms[1] - atoms[0]
    register = model.registers[op.out]
    gradient = rows_of(workspace, register.gradient, register, n)
    for i in range(n):
        first = op.parameter + z[atoms[0] + i] * register.channels
        for f in range(register.channels):
            gradients.flat[first + f] += gradient[i, f]


@standalone
def _linear_gradient(model, op, inputs, with_tangents, tape, workspace, n, gradients):
    register, argument = model.registers[op.out], model.registers[op.x]
    gradient = rows_of(workspace, register.gradient, register, n)
    rows, columns = register.channels, argument.channels
    out = view(gradients.flat, op.parameter, (rows, columns))
    if op.bias >= 0:
        add_rows(gradient, view(gradients.flat, op.bias, (rows,)))
    if op.y >= 0:
        y = model.registers[op.y]
        target = vectors_of(workspace, y.gradient, y, n)
        vectors = vectors_of(workspace, register.gradient, register, n)
        add_scaled(vectors, tape.dtype.type(1), target)
    if inputs.shape[0] and op.x == 0:
        _inputs_gradient(gradient, inputs, workspace, out)
        return
    add_outer(gradient, rows_of(tape, argument.value, argument, n), out)
    if with_tangents and register.moves and argument.moves:
        adjoint = rows_of(tape, register.adjoint, register, n)
        add_outer(adjoint, rows_of(workspace, argument.tangent, argument, n), out)
    x = rows_of(workspace, argument.gradient, argument, n)
    add_products(gradient, transposed_weight(model, op), x)


@standalone
def _inputs_gradient(gradient, inputs, workspace, out):
    """Add bᵀ x to out, for those columns of x that are not 0. The workspace ends with room."""
    first, last = nonzero_columns(inputs)
    size = (last - first) * gradient.shape[1]
    start = workspace.shape[0] - size
    fill(gradient.dtype.type(0), view(workspace, start, (size,)))
    turned = view(workspace, start, (last - first, gradient.shape[1]))
    add_outer(inputs[:, first:last], gradient, turned)
    for f in range(gradient.shape[1]):
        for k in range(last - first):
            out[f, first + k] += turned[k, f]


@standalone
def _activation_gradient(model, op, with_tangents, tape, workspace, n):
    """b_x = σ′ b + σ″ a ṫ_x."""
    register, argument = model.registers[op.out], model.registers[op.x]
    first = numbers_of(tape, register.first, register, n)
    gradient = numbers_of(workspace, register.gradient, register, n)
    x = numbers_of(workspace, argument.gradient, argument, n)
    if argument.gradient == register.gradient:
        multiply_in_place(first, x)
    else:
        for k in range(x.shape[0]):
            x[k] += first[k] * gradient[k]
    if not (with_tangents and register.moves):
        return
    tangent = numbers_of(workspace, argument.tangent, argument, n)
    if register.second >= 0:  # by now σ″ a
        second = numbers_of(tape, register.second, register, n)
        for k in range(x.shape[0]):
            x[k] += second[k] * tangent[k]
    elif argument.adjoint == register.adjoint:  # by now σ′ a, and σ″ = σ′ (1 − σ′)
        adjoint, one = numbers_of(tape, register.adjoint, register, n), tape.dtype.type(1)
        for k in range(x.shape[0]):
            x[k] += (one - first[k]) * adjoint[k] * tangent[k]
    else:
        adjoint, one = numbers_of(tape, register.adjoint, register, n), tape.dtype.type(1)
        for k in range(x.shape[0]):
            x[k] += first[k] * (one - first[k]) * adjoint[k] * tangent[k]


@standalone
def _rows_gradient(model, op, with_tangents, tape, workspace, n, gradients):
    register, x, y = model.registers[op.out], model.registers[op.x], model.registers[max(op.y, 0)]
    one, channels = tape.dtype.type(1), register.channels
    gradient = vectors_of(workspace, register.gradient, register, n)
    x_out, y_out = vectors_of(workspace, x.gradient, x, n), view(workspace, 0, (0, 1, 1))
    if op.y >= 0:
        y_out = vectors_of(workspace, y.gradient, y, n)
    transpose_rows(model, op, tape, n, gradient, x_out, y_out)
    if op.operation == SHIFT:
        add_scaled(gradient, one, row_of(gradients.flat, op.bias, channels))
    if op.operation == SCALE:
        out = row_of(gradients.flat, op.parameter, channels)
        add_product(gradient, vectors_of(tape, x.value, x, n), out)
    if not (with_tangents and register.moves):
        return
    if op.operation == SCALE:
        adjoint = vectors_of(tape, register.adjoint, register, n)
        out = row_of(gradients.flat, op.parameter, channels)
        add_product(adjoint, vectors_of(workspace, x.tangent, x, n), out)
    if op.operation == MULTIPLY:
        adjoint = vectors_of(tape, register.adjoint, register, n)
        if y.moves:
            add_product(adjoint, vectors_of(workspace, y.tangent, y, n), x_out)
        if x.moves:
            add_product(adjoint, vectors_of(workspace, x.tangent, x, n), y_out)


@standalone
def _conv_gradient(model, op, edges, tangents, with_tangents, tape, workspace, atoms, gradients):
    n = atoms[1] - atoms[0]
    register, argument = model.registers[op.out], model.registers[op.x]
    table = table_of(model, model.tables, op.filter)
    table_out = table_of(model, gradients.tables, op.filter)
    with_tangents = with_tangents and register.moves != 0
    dr, du, rows = tangents.distance, tangents.unit, scratch_of(tape, op, register, n)
    if op.option == NO_DIRECTION and register.components == 1:
        x = rows_of(tape, argument.value, argument, n)
        gradient = rows_of(workspace, register.gradient, register, n)
        out = rows_of(workspace, argument.gradient, argument, n)
        if with_tangents:
            adjoint = rows_of(tape, register.adjoint, register, n)
            dx = rows_of(workspace, argument.tangent, argument, n)
            conv_tangent(adjoint, gradient, table, edges, dr, atoms, out)
            table_gradient_tangent(x, dx, adjoint, gradient, edges, dr, atoms, rows, table_out)
        else:
            conv(gradient, table, edges, atoms, out)
            table_gradient(x, gradient, edges, atoms, table_out)
        return
    direction, sign = transposed(op.option)
    x = vectors_of(tape, argument.value, argument, n)
    gradient = vectors_of(workspace, register.gradient, register, n)
    out = vectors_of(workspace, argument.gradient, argument, n)
    adjoint, dx = gradient, x
    if with_tangents:
        adjoint = vectors_of(tape, register.adjoint, register, n)
        dx = vectors_of(workspace, argument.tangent, argument, n)
        vector_conv_tangent(
            direction, sign, adjoint, gradient, table, edges, dr, du, atoms, rows, out
        )
    else:
        vector_conv(direction, sign, gradient, table, edges, atoms, rows, out)
    vector_table_gradient(
        op.option, x, dx, adjoint, gradient, edges, dr, du, with_tangents, atoms, rows, table_out
    )
