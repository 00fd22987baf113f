"""The forward pass of a program, and its edge gradients, for one block of atoms, compiled."""

from schnetgeo.engine.numba.activations import activate
from schnetgeo.engine.numba.edge_kernels import conv, edge_gradient, edge_gradient_and_conv
from schnetgeo.engine.numba.registers import (
    ACTIVATION,
    ADD,
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
from schnetgeo.engine.numba.vector_kernels import transposed, vector_conv, vector_edge_gradient
from schnetgeo.engine.numba.views import view
from schnetgeo.ops.dense import add_products
from schnetgeo.ops.jit import inner, standalone


@standalone
def forward_block(model, edges, z, inputs, tape, atoms):
    """Values of all registers, and derivatives of activations.

    Args:
        model: a program; register 0 of a program without atoms is `inputs` (n, K).
        edges: `EdgeArrays`.
        z: atomic numbers (N,).
        tape: memory of the block.
        atoms: first atom of the block, and the one after its last.
    """
    n, zero = atoms[1] - atoms[0], tape.dtype.type(0)
    for k in range(model.instructions.shape[0]):
        op = model.instructions[k]
        register = model.registers[op.out]
        out = numbers_of(tape, register.value, register, n)
        if op.operation == EMBEDDING:
            for i in range(n):
                first = op.parameter + z[atoms[0] + i] * register.channels
                for f in range(register.channels):
                    out[i * register.channels + f] = model.flat[first + f]
        elif op.operation == LINEAR:
            _linear(model, op, inputs, tape, n)
        elif op.operation == ACTIVATION:
            x = model.registers[op.x]
            if x.value != register.value:
                copy(numbers_of(tape, x.value, x, n), out)
            first = numbers_of(tape, register.first, register, n)
            second = numbers_of(tape, max(register.second, 0), register, n)
            activate(op.option, out, first, second)
        elif op.operation == CONV:
            fill(zero, out)
            _convolve(model, op, edges, tape, atoms)
        elif op.operation == SLICE or op.operation == CONCATENATE:
            _move_channels(model, op, tape, n)
        else:
            _broadcast(model, op, tape, n)


@standalone
def _linear(model, op, inputs, tape, n):
    register, argument = model.registers[op.out], model.registers[op.x]
    out = rows_of(tape, register.value, register, n)
    if op.y >= 0:
        residual = model.registers[op.y]
        numbers = numbers_of(tape, register.value, register, n)
        copy(numbers_of(tape, residual.value, residual, n), numbers)
        if op.bias >= 0:
            for i in range(out.shape[0]):
                for f in range(out.shape[1]):
                    out[i, f] += model.flat[op.bias + f]
    elif op.bias >= 0:
        for i in range(out.shape[0]):
            for f in range(out.shape[1]):
                out[i, f] = model.flat[op.bias + f]
    else:
        fill(out.dtype.type(0), numbers_of(tape, register.value, register, n))
    if inputs.shape[0] and op.x == 0:
        first, last = nonzero_columns(inputs)
        add_products(inputs[:, first:last], weight_rows(model, op, first, last), out)
    else:
        x = rows_of(tape, argument.value, argument, n)
        add_products(x, weight_rows(model, op, 0, argument.channels), out)


@inner
def nonzero_columns(x):
    """First and last column, the latter excluded, that is not 0: Gaussians far away are."""
    first, last = x.shape[1], 0
    for m in range(x.shape[0]):
        for k in range(first):
            if x[m, k] != 0:
                first = k
                break
        for k in range(x.shape[1] - 1, last - 1, -1):
            if x[m, k] != 0:
                last = k + 1
                break
    return min(first, last), last


@standalone
def _convolve(model, op, edges, tape, atoms):
    n = atoms[1] - atoms[0]
    register, argument = model.registers[op.out], model.registers[op.x]
    table = table_of(model, model.tables, op.filter)
    if op.option == NO_DIRECTION and register.components == 1:
        x = rows_of(tape, argument.value, argument, n)
        conv(x, table, edges, atoms, rows_of(tape, register.value, register, n))
    else:
        x = vectors_of(tape, argument.value, argument, n)
        out = vectors_of(tape, register.value, register, n)
        rows = scratch_of(tape, op, register, n)
        vector_conv(op.option, 1, x, table, edges, atoms, rows, out)


@standalone
def _move_channels(model, op, tape, n):
    register, argument = model.registers[op.out], model.registers[op.x]
    x = rows_of(tape, argument.value, argument, n)
    out = rows_of(tape, register.value, register, n)
    if op.operation == SLICE:
        for i in range(out.shape[0]):
            for f in range(out.shape[1]):
                out[i, f] = x[i, op.option + f]
        return
    other = model.registers[op.y]
    y = rows_of(tape, other.value, other, n)
    for i in range(out.shape[0]):
        for f in range(x.shape[1]):
            out[i, f] = x[i, f]
        for f in range(y.shape[1]):
            out[i, x.shape[1] + f] = y[i, f]


@standalone
def _broadcast(model, op, tape, n):
    """Sums and products, number by number."""
    register, argument = model.registers[op.out], model.registers[op.x]
    out = vectors_of(tape, register.value, register, n)
    x, one = vectors_of(tape, argument.value, argument, n), tape.dtype.type(1)
    fill(tape.dtype.type(op.shift), numbers_of(tape, register.value, register, n))
    if op.operation == MULTIPLY:
        other = model.registers[op.y]
        add_product(x, vectors_of(tape, other.value, other, n), out)
    elif op.operation == SCALE:
        add_product(x, row_of(model.flat, op.parameter, register.channels), out)
    elif op.operation == AFFINE:
        add_scaled(x, tape.dtype.type(op.scale), out)
    else:
        add_scaled(x, one, out)
    if op.operation == ADD:
        other = model.registers[op.y]
        add_scaled(vectors_of(tape, other.value, other, n), one, out)
    elif op.operation == SHIFT:
        add_scaled(row_of(model.flat, op.bias, register.channels), one, out)


@standalone
def transpose_block(model, edges, tape, atoms, radial, angular):
    """Adjoints of all tangents, from that of the result on, and edge gradients.

    Args:
        model, edges, tape, atoms: as for `forward_block`, after it; the adjoint of the result
            is set.
        radial, angular: ∂/∂r_e (E,) and ∂/∂u_e (E, 3), added to the first edge of each pair.
    """
    n = atoms[1] - atoms[0]
    for k in range(model.instructions.shape[0] - 1, -1, -1):
        op = model.instructions[k]
        register = model.registers[op.out]
        if not register.moves:
            continue
        if op.operation == CONV:
            _transpose_conv(model, op, edges, tape, atoms, radial, angular)
        elif op.operation == ACTIVATION:
            _transpose_activation(model, op, tape, n)
        else:
            if op.x_adjoint_first:
                x = model.registers[op.x]
                fill(tape.dtype.type(0), numbers_of(tape, x.adjoint, x, n))
            if op.y_adjoint_first:
                y = model.registers[op.y]
                fill(tape.dtype.type(0), numbers_of(tape, y.adjoint, y, n))
            if op.operation == LINEAR:
                _transpose_linear(model, op, tape, n)
            else:
                adjoint = vectors_of(tape, register.adjoint, register, n)
                moves_x, moves_y = model.registers[op.x].moves, 0
                if op.y >= 0:
                    moves_y = model.registers[op.y].moves
                x, y = model.registers[op.x], model.registers[max(op.y, 0)]
                x_out, y_out = view(tape, 0, (0, 1, 1)), view(tape, 0, (0, 1, 1))
                if moves_x:
                    x_out = vectors_of(tape, x.adjoint, x, n)
                if moves_y:
                    y_out = vectors_of(tape, y.adjoint, y, n)
                transpose_rows(model, op, tape, n, adjoint, x_out, y_out)


@standalone
def _transpose_linear(model, op, tape, n):
    register, argument = model.registers[op.out], model.registers[op.x]
    adjoint = rows_of(tape, register.adjoint, register, n)
    if op.y >= 0 and model.registers[op.y].moves:
        y = model.registers[op.y]
        target = vectors_of(tape, y.adjoint, y, n)
        add_scaled(vectors_of(tape, register.adjoint, register, n), tape.dtype.type(1), target)
    if argument.moves:
        x = rows_of(tape, argument.adjoint, argument, n)
        add_products(adjoint, transposed_weight(model, op), x)


@standalone
def _transpose_activation(model, op, tape, n):
    """a_x = σ′ a; and σ″ a in place of σ″, which the backward pass needs."""
    register, argument = model.registers[op.out], model.registers[op.x]
    adjoint = numbers_of(tape, register.adjoint, register, n)
    first = numbers_of(tape, register.first, register, n)
    if register.second >= 0:
        multiply_in_place(adjoint, numbers_of(tape, register.second, register, n))
    x = numbers_of(tape, argument.adjoint, argument, n)
    if argument.adjoint == register.adjoint:
        multiply_in_place(first, x)
        return
    if op.x_adjoint_first:
        fill(tape.dtype.type(0), x)
    for k in range(x.shape[0]):
        x[k] += first[k] * adjoint[k]


@standalone
def transpose_rows(model, op, tape, n, adjoint, x_out, y_out):
    """Add what an operation on rows passes back to its arguments; no rows where none is wanted."""
    one = tape.dtype.type(1)
    register, x, y = model.registers[op.out], model.registers[op.x], model.registers[max(op.y, 0)]
    if op.operation == MULTIPLY:
        if x_out.shape[0]:
            add_product(adjoint, vectors_of(tape, y.value, y, n), x_out)
        if y_out.shape[0]:
            add_product(adjoint, vectors_of(tape, x.value, x, n), y_out)
    elif op.operation == SCALE:
        add_product(adjoint, row_of(model.flat, op.parameter, register.channels), x_out)
    elif op.operation == AFFINE:
        add_scaled(adjoint, tape.dtype.type(op.scale), x_out)
    elif op.operation == SLICE:
        add_channels(adjoint, 0, x_out, op.option, register.channels)
    elif op.operation == CONCATENATE:
        if x_out.shape[0]:
            add_channels(adjoint, 0, x_out, 0, x.channels)
        if y_out.shape[0]:
            add_channels(adjoint, x.channels, y_out, 0, y.channels)
    else:
        if x_out.shape[0]:
            add_scaled(adjoint, one, x_out)
        if y_out.shape[0]:
            add_scaled(adjoint, one, y_out)


@standalone
def add_channels(x, x_first, out, out_first, count):
    """Add some channels of x to some of out."""
    for i in range(out.shape[0]):
        for c in range(out.shape[1]):
            for f in range(count):
                out[i, c, out_first + f] += x[i, c, x_first + f]


@standalone
def _transpose_conv(model, op, edges, tape, atoms, radial, angular):
    n = atoms[1] - atoms[0]
    register, argument = model.registers[op.out], model.registers[op.x]
    table = table_of(model, model.tables, op.filter)
    if op.x_adjoint_first:
        fill(tape.dtype.type(0), numbers_of(tape, argument.adjoint, argument, n))
    if op.option == NO_DIRECTION and register.components == 1:
        x = rows_of(tape, argument.value, argument, n)
        adjoint = rows_of(tape, register.adjoint, register, n)
        if argument.moves:
            out = rows_of(tape, argument.adjoint, argument, n)
            edge_gradient_and_conv(x, adjoint, table, edges, atoms, radial, out)
        else:
            edge_gradient(x, adjoint, table, edges, atoms, radial)
        return
    x = vectors_of(tape, argument.value, argument, n)
    adjoint = vectors_of(tape, register.adjoint, register, n)
    rows = scratch_of(tape, op, register, n)
    vector_edge_gradient(op.option, x, adjoint, table, edges, atoms, rows, radial, angular)
    if argument.moves:
        out = vectors_of(tape, argument.adjoint, argument, n)
        direction, sign = transposed(op.option)
        vector_conv(direction, sign, adjoint, table, edges, atoms, rows, out)
