"""A program as tables of numbers: instructions, and where registers lie in memory.

Compiled code interprets the tables, so that no model needs to be compiled. For each register there
is memory for its value v and, if it depends on the edges, for the adjoint a of its tangent, both
kept from the forward pass to the backward pass; and for its tangent t and the gradient b of the
loss for its value, both used for one block of atoms after the other.
"""

from typing import NamedTuple

import numpy as np

from schnetgeo.engine.numba.placement import Memory
from schnetgeo.engine.program import (
    Activation,
    Add,
    Affine,
    Concatenate,
    Embedding,
    FilterConv,
    Linear,
    Multiply,
    Operation,
    Program,
    Scale,
    Shift,
    Slice,
    SumChannels,
    SumComponents,
)

OPERATIONS = (
    Embedding, Linear, Activation, Affine, Scale, Shift, Add, Multiply, SumChannels, SumComponents,
    Slice, Concatenate, FilterConv,
)  # fmt: skip
ALIGN = 16  # numbers, so that matrices begin at a cache line

_INTEGERS = (
    "operation", "out", "x", "y",  # registers, −1 for none; y is also a residual
    "weight", "transposed",  # of a Linear, in the packed matrices: (in, out) and (out, in)
    "parameter", "bias",  # in the flat parameters and in their gradient
    "option",  # a Function, a Direction, or the first channel of a Slice
    "filter",
    "scratch",  # numbers per atom before two rows on the tape, of a FilterConv
    "x_adjoint_first", "y_adjoint_first",  # whether no other operation has added to it before
    "x_gradient_first", "y_gradient_first",
)  # fmt: skip
INSTRUCTION = np.dtype([*((n, np.int64) for n in _INTEGERS), ("scale", "f8"), ("shift", "f8")])


class Code(NamedTuple):
    """A program that compiled code can run."""

    instructions: np.ndarray  # of INSTRUCTION
    registers: np.ndarray  # of REGISTER
    tape: int  # numbers per atom that the forward pass writes, without adjoints
    tape_with_adjoints: int
    workspace: int  # numbers per atom
    outputs: np.ndarray  # registers of the results
    results: int  # numbers per atom of all of them
    energy: int  # register of the energy, −1 for none


class Matrix(NamedTuple):
    """A weight (out, in) among the flat parameters, and where its two copies go."""

    parameter: int
    rows: int
    columns: int
    weight: int
    transposed: int


class Layout(NamedTuple):
    """Where parameters lie, one after the other, and the copies of matrices."""

    offsets: tuple[int, ...]
    size: int
    matrices: dict[int, Matrix]  # by parameter
    packed_size: int


def lay_out(shapes: list[tuple[int, ...]], programs: list[Program]) -> Layout:
    """Places for parameters of these shapes, and for copies of those that multiply features."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    offsets = [0, *np.cumsum(sizes).tolist()]
    matrices, end = {}, 0
    for operation in (operation for program in programs for operation in program.operations):
        if isinstance(operation, Linear) and operation.weight not in matrices:
            size = _aligned(sizes[operation.weight])
            first = offsets[operation.weight]
            matrices[operation.weight] = Matrix(first, *shapes[operation.weight], end, end + size)
            end += 2 * size
    return Layout(tuple(offsets[:-1]), offsets[-1], matrices, end)


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def assemble(program: Program, layout: Layout, energy: int | None = None) -> Code:
    """The tables of a program whose operations all lead to a result."""
    memory = Memory(program, energy)
    instructions = np.zeros(len(program.operations), INSTRUCTION)
    for name in ("out", "x", "y", "weight", "transposed", "parameter", "bias", "filter"):
        instructions[name] = -1
    for instruction, operation in zip(instructions, program.operations, strict=True):
        _write(instruction, operation, layout)
    instructions["scratch"] = memory.scratch
    _mark_first(instructions, program, memory, energy)
    return Code(
        instructions, memory.registers, memory.tape, memory.tape_with_adjoints, memory.workspace,
        np.array(program.outputs, np.int64), sum(map(memory.size, program.outputs)),
        -1 if energy is None else energy,
    )  # fmt: skip


def _write(instruction: np.void, operation: Operation, layout: Layout) -> None:
    instruction["operation"] = OPERATIONS.index(type(operation))
    for name in ("out", "x", "y", "scale", "shift", "filter"):
        if hasattr(operation, name):
            instruction[name] = getattr(operation, name)
    match operation:
        case Linear(residual=residual, weight=weight, bias=bias):
            matrix = layout.matrices[weight]
            instruction["weight"], instruction["transposed"] = matrix.weight, matrix.transposed
            instruction["y"] = -1 if residual is None else residual
            instruction["bias"] = -1 if bias is None else layout.offsets[bias]
        case Activation(function=function):
            instruction["option"] = function
        case FilterConv(direction=direction):
            instruction["option"] = direction
        case Slice(start=start):
            instruction["option"] = start
        case Shift(bias=bias):
            instruction["bias"] = layout.offsets[bias]
    if hasattr(operation, "weight"):
        instruction["parameter"] = layout.offsets[operation.weight]


def _mark_first(
    instructions: np.ndarray, program: Program, memory: Memory, energy: int | None
) -> None:
    adjoints = {energy}
    gradients = {*program.outputs, *memory.arguments}
    pairs = list(zip(instructions, program.operations, strict=True))
    for instruction, operation in reversed(pairs):
        if operation.out in memory.in_place:
            adjoints.add(operation.x)
            gradients.add(operation.x)
            continue
        for name in ("x", "y"):
            register = int(instruction[name])
            if register < 0:
                continue
            instruction[f"{name}_gradient_first"] = register not in gradients
            gradients.add(register)
            if memory.registers[operation.out]["moves"] and memory.registers[register]["moves"]:
                instruction[f"{name}_adjoint_first"] = register not in adjoints
                adjoints.add(register)
