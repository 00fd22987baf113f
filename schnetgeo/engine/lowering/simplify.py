"""Programs without what nobody reads, and with operations that do two at once."""

import math
from collections import Counter
from dataclasses import fields, replace

from schnetgeo.engine.program import (
    Activation,
    Add,
    Affine,
    Embedding,
    FilterConv,
    Function,
    Linear,
    ModelProgram,
    Multiply,
    Operation,
    Program,
    inputs,
    live_operations,
    parameters,
)


def simplified(
    atoms: Program, filters: Program, has_energy: bool
) -> tuple[ModelProgram, list[int]]:
    """Programs with the same results, and the numbers of the parameters that are left.

    Args:
        atoms: whose FilterConvs name registers of `filters`.
        filters: without outputs; they follow from `atoms`.
        has_energy: whether the first result may be an energy.
    """
    atoms = _live(_fused(_live(atoms)))
    convolutions = [op for op in atoms.operations if isinstance(op, FilterConv)]
    outputs = tuple(dict.fromkeys(op.filter for op in convolutions))
    operations = tuple(
        replace(op, filter=outputs.index(op.filter)) if isinstance(op, FilterConv) else op
        for op in atoms.operations
    )
    first = [op for op in operations if isinstance(op, Embedding)]
    rest = [op for op in operations if not isinstance(op, Embedding)]
    atoms = _numbered(atoms._replace(operations=(*first, *rest)), 0)
    filters = _numbered(_live(_fused(_live(filters._replace(outputs=outputs)))), 1)
    both = atoms.operations + filters.operations
    left = list(dict.fromkeys(p for op in both for p in parameters(op)))
    numbers = {old: new for new, old in enumerate(left)}
    programs = (_renamed(program, numbers, ("weight", "bias")) for program in (atoms, filters))
    return ModelProgram(*programs, atoms.outputs[0] if has_energy else None), left


def _live(program: Program) -> Program:
    """Without operations whose results nothing reads."""
    return program._replace(operations=live_operations(program, program.outputs))


def _fused(program: Program) -> Program:
    writers = {op.out: op for op in program.operations}
    counts = Counter(r for op in program.operations for r in inputs(op))
    counts.update(program.outputs)
    operations = []
    for operation in program.operations:
        operation = _with_residual(program, operation, writers, counts)
        operation = _known_activation(operation, writers, counts)
        writers[operation.out] = operation
        operations.append(operation)
    return program._replace(operations=tuple(operations))


def _with_residual(program: Program, operation: Operation, writers: dict, counts: Counter):
    """Linear + residual in one, where nothing else reads what the linear layer gives."""
    if not isinstance(operation, Add) or operation.x == operation.y:
        return operation
    for x, residual in ((operation.x, operation.y), (operation.y, operation.x)):
        linear, alike = writers.get(x), program.registers[x] == program.registers[residual]
        if isinstance(linear, Linear) and linear.residual is None and counts[x] == 1 and alike:
            return replace(linear, out=operation.out, residual=residual)
    return operation


def _known_activation(operation: Operation, writers: dict, counts: Counter) -> Operation:
    """softplus(x) − ln 2, and x · sigmoid(x), where nothing else reads what is inside."""
    if isinstance(operation, Affine) and operation.scale == 1 and counts[operation.x] == 1:
        inner = writers.get(operation.x)
        shifted = math.isclose(operation.shift, -math.log(2), rel_tol=1e-15)
        if shifted and isinstance(inner, Activation) and inner.function is Function.SOFTPLUS:
            return Activation(operation.out, inner.x, Function.SHIFTED_SOFTPLUS)
    if isinstance(operation, Multiply):
        for x, gate in ((operation.x, operation.y), (operation.y, operation.x)):
            if counts[gate] == 1 and writers.get(gate) == Activation(gate, x, Function.SIGMOID):
                return Activation(operation.out, x, Function.SILU)
    return operation


def _numbered(program: Program, num_inputs: int) -> Program:
    """With registers numbered in the order in which they are written, after the inputs."""
    order = [*range(num_inputs), *(op.out for op in program.operations)]
    numbers = {old: new for new, old in enumerate(order)}
    program = _renamed(program, numbers, ("out", "x", "y", "residual"))
    registers = tuple(program.registers[old] for old in order)
    return program._replace(registers=registers, outputs=tuple(numbers[r] for r in program.outputs))


def _renamed(program: Program, numbers: dict[int, int], names: tuple[str, ...]) -> Program:
    operations = []
    for operation in program.operations:
        present = {f.name: getattr(operation, f.name) for f in fields(operation)}
        changes = {
            name: numbers[value]
            for name, value in present.items()
            if name in names and value is not None
        }
        operations.append(replace(operation, **changes))
    return program._replace(operations=tuple(operations))
