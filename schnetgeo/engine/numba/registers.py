"""A program in compiled code, and its registers in the memory of a block of atoms."""

from typing import NamedTuple

import numpy as np

from schnetgeo.engine.numba.instructions import OPERATIONS
from schnetgeo.engine.numba.views import view
from schnetgeo.engine.program import (
    Activation,
    Add,
    Affine,
    Concatenate,
    Direction,
    Embedding,
    FilterConv,
    Linear,
    Multiply,
    Scale,
    Shift,
    Slice,
)
from schnetgeo.ops.jit import part

EMBEDDING, LINEAR, ACTIVATION, AFFINE, SCALE, SHIFT, ADD, MULTIPLY, SLICE, CONCATENATE, CONV = (
    OPERATIONS.index(operation)
    for operation in (
        Embedding, Linear, Activation, Affine, Scale, Shift, Add, Multiply, Slice, Concatenate,
        FilterConv,
    )
)  # fmt: skip
NO_DIRECTION = int(Direction.NONE)


class Model(NamedTuple):
    """A program and the numbers that it computes with."""

    instructions: np.ndarray
    registers: np.ndarray
    flat: np.ndarray  # all parameters
    packed: np.ndarray  # matrices, as (in, out) and as (out, in)
    tables: np.ndarray  # coefficients (M, F) of one filter after the other
    channels: np.ndarray  # of all filters before each one
    knots: int  # M


@part
def rows_of(memory, offset, register, n):
    """The part of a block's memory that belongs to a register, (n · components, channels)."""
    return view(memory, offset * n, (n * register.components, register.channels))


@part
def vectors_of(memory, offset, register, n):
    """The same as (n, components, channels)."""
    return view(memory, offset * n, (n, register.components, register.channels))


@part
def numbers_of(memory, offset, register, n):
    """The same as one row."""
    return view(memory, offset * n, (n * register.components * register.channels,))


@part
def scratch_of(tape, op, register, n):
    """Two rows (2, channels) for one edge after the other."""
    return view(tape, op.scratch * n, (2, register.channels))


@part
def table_of(model, tables, filter):
    """Coefficients (M, F) of a filter, or their gradients."""
    first, last = model.channels[filter], model.channels[filter + 1]
    return view(tables, first * model.knots, (model.knots, last - first))


@part
def row_of(flat, offset, channels):
    """A row of parameters as (1, 1, channels)."""
    return view(flat, offset, (1, 1, channels))


@part
def weight_rows(model, op, first, last):
    """Rows of the weight of a Linear as (in, out)."""
    channels = model.registers[op.out].channels
    return view(model.packed, op.weight + first * channels, (last - first, channels))


@part
def transposed_weight(model, op):
    """The weight of a Linear as (out, in)."""
    rows, columns = model.registers[op.out].channels, model.registers[op.x].channels
    return view(model.packed, op.transposed, (rows, columns))
