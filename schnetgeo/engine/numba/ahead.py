"""What any model needs compiled, known before the first batch."""

import functools

import numpy as np
from numba import typeof, types

from schnetgeo.engine.numba.backward import Gradients, Tangents
from schnetgeo.engine.numba.edge_kernels import EdgeArrays
from schnetgeo.engine.numba.instructions import INSTRUCTION, REGISTER
from schnetgeo.engine.numba.interpreter import Model
from schnetgeo.ops.second_process import compile_there
from schnetgeo.ops.symbols import Symbol, is_compiled


@functools.cache
def compile_ahead(dtype: np.dtype, training: bool) -> None:
    """Let a second process begin with what this one compiles last, unless it is there already."""
    stages = symbols(dtype)[: 1 + training]
    if not all(is_compiled(symbol) for stage in stages for symbol in stage):
        compile_there(stages)


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
        return Symbol(f"schnetgeo.engine.numba.{function}", arguments)

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
