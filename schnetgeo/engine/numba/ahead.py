"""What a program needs compiled, known before its first batch."""

import numpy as np
from numba import typeof, types

from schnetgeo.engine.numba.backward import Gradients, Tangents
from schnetgeo.engine.numba.edge_kernels import EdgeArrays
from schnetgeo.engine.numba.instructions import INSTRUCTION
from schnetgeo.engine.numba.placement import REGISTER
from schnetgeo.engine.numba.registers import Model
from schnetgeo.engine.program import (
    Activation,
    Concatenate,
    Direction,
    Embedding,
    FilterConv,
    Function,
    Linear,
    ModelProgram,
    Slice,
)
from schnetgeo.ops.second_process import compile_there
from schnetgeo.ops.symbols import Symbol, expect, is_compiled

_HERE, _ACTIVATIONS = "schnetgeo.engine.numba", "schnetgeo.ops.activations"
_ON_VECTORS = (
    "vector_conv", "vector_conv_tangent", "vector_edge_gradient", "vector_table_gradient",
)  # fmt: skip
_ON_SCALARS = (
    "conv", "conv_tangent", "edge_gradient", "edge_gradient_and_conv", "table_gradient",
    "table_gradient_tangent",
)  # fmt: skip
_SOFTPLUS = {Function.SHIFTED_SOFTPLUS, Function.SOFTPLUS}
_SIGMOID = {Function.SIGMOID, Function.TANH}
_NOT_ON_ROWS = {Embedding, Linear, Activation, FilterConv, Slice, Concatenate}


def compile_ahead(program: ModelProgram, dtype: np.dtype, training: bool) -> None:
    """Let a second process begin with what this one compiles last, unless it is there already."""
    expect(functions_called(program))
    stages = symbols(dtype)[: 1 + training]
    if not all(is_compiled(symbol) for stage in stages for symbol in stage):
        compile_there(stages)


def functions_called(program: ModelProgram) -> dict[str, bool]:
    """Functions that not every program calls, by dotted paths, and whether this one does.

    To be wrong here costs time and nothing else: they are compiled when they are called.
    """
    operations = program.atoms.operations + program.filters.operations
    kinds = {type(operation) for operation in operations}
    moves_channels, works_on_rows = bool(kinds & {Slice, Concatenate}), bool(kinds - _NOT_ON_ROWS)
    functions = {o.function for o in operations if isinstance(o, Activation)}
    further = functions - _SOFTPLUS - _SIGMOID - {Function.SILU}
    has_vectors = {
        o.direction is not Direction.NONE or program.atoms.registers[o.out].components > 1
        for o in operations
        if isinstance(o, FilterConv)
    }
    return {
        **{f"{_HERE}.vector_kernels.{name}": True in has_vectors for name in _ON_VECTORS},
        **{f"{_HERE}.edge_kernels.{name}": False in has_vectors for name in _ON_SCALARS},
        f"{_HERE}.interpreter._move_channels": moves_channels,
        f"{_HERE}.backward._move_channels": moves_channels,
        f"{_HERE}.interpreter.add_channels": moves_channels,
        f"{_HERE}.interpreter._broadcast": works_on_rows,
        f"{_HERE}.backward._broadcast": works_on_rows,
        f"{_HERE}.interpreter.transpose_rows": works_on_rows or moves_channels,
        f"{_HERE}.backward._rows_gradient": works_on_rows or moves_channels,
        f"{_HERE}.activations._activate": bool(further),
        f"{_ACTIVATIONS}.softplus_of": bool(functions & _SOFTPLUS),
        f"{_ACTIVATIONS}.sigmoid_of": bool(functions & _SIGMOID),
        f"{_ACTIVATIONS}.silu_of": Function.SILU in functions,
    }


def symbols(dtype: np.dtype) -> tuple[list[Symbol], list[Symbol]]:
    """What a prediction calls, and what else a step of training does."""
    numbers, units = np.empty(0, dtype), np.empty((0, 3), dtype)
    none, rows = np.empty(0, np.int64), np.empty((0, 4), dtype)
    tables = np.empty(0, INSTRUCTION), np.empty(0, REGISTER)
    model = typeof(Model(*tables, numbers, numbers, numbers, none, 0))
    edges = typeof(EdgeArrays(none, none, none, none, rows, rows, units))
    tangents, gradients = typeof(Tangents(numbers, units)), typeof(Gradients(numbers, numbers))
    z, atoms = typeof(none), types.UniTuple(types.int64, 2)
    tape = workspace = radial = typeof(numbers)
    inputs = angular = typeof(units)

    def symbol(function: str, *arguments: types.Type) -> Symbol:
        return Symbol(f"{_HERE}.{function}", arguments)

    prediction = [
        symbol("interpreter.forward_block", model, edges, z, inputs, tape, atoms),
        symbol("interpreter.transpose_block", model, edges, tape, atoms, radial, angular),
    ]
    training = [
        symbol("backward.tangent_block", model, edges, tangents, tape, workspace, atoms),
        symbol(
            "backward.gradient_block", model, edges, z, inputs, tangents, types.boolean, tape,
            workspace, atoms, gradients,
        ),
    ]  # fmt: skip
    return prediction, training
