"""Where registers lie in memory: places that are used again when nobody reads them any more.

What the backward pass reads lasts: values that weights, filters and other values multiply, adjoints
of what comes out, and the tangents of such values.
"""

from collections import Counter

import numpy as np

from schnetgeo.engine.program import (
    Activation,
    FilterConv,
    Function,
    Linear,
    Multiply,
    Program,
    Scale,
    has_tangent,
    inputs,
)

REGISTER = np.dtype(
    [
        (name, np.int64)
        for name in (
            "channels",
            "components",
            "moves",
            "value",
            "first",
            "second",
            "adjoint",  # numbers per atom before it on the tape
            "tangent",
            "gradient",  # the same in the workspace
        )
    ]  # fmt: skip
)
_PRODUCTS = Linear, Multiply, Scale, FilterConv  # whose gradients need what was multiplied


class _Room:
    """Numbers per atom, from a first one on."""

    def __init__(self, first: int):
        self.end, self._free = first, {}

    def take(self, size: int) -> int:
        """The first of so many, which may have been used before."""
        if self._free.get(size):
            return self._free[size].pop()
        self.end += size
        return self.end - size

    def give(self, size: int, place: int) -> None:
        """Let them be used again."""
        self._free.setdefault(size, []).append(int(place))


class Memory:
    """Places of the registers of a program.

    Args:
        program: whose operations all lead to a result.
        energy: register of the energy, `None` for none.

    Attributes:
        registers: of REGISTER.
        arguments: registers that no operation writes: basis functions, if any.
        in_place: results of activations that lie where their arguments were.
        scratch: numbers per atom before two rows on the tape, for convolutions.
        tape, tape_with_adjoints, workspace: see `Code`.
    """

    def __init__(self, program: Program, energy: int | None):
        registers = self.registers = np.zeros(len(program.registers), REGISTER)
        for name in ("value", "first", "second", "adjoint", "tangent", "gradient"):
            registers[name] = -1
        registers["channels"] = [r.channels for r in program.registers]
        registers["components"] = [r.components for r in program.registers]
        registers["moves"] = has_tangent(program, energy)
        written = {operation.out for operation in program.operations}
        self.arguments = set(range(len(registers))) - written
        self.in_place = _in_place(program)
        self._place_values(program, energy)
        self._place_adjoints(program, energy)
        self._place_tangents(program)
        self._place_gradients(program)

    def size(self, register: int) -> int:
        """Numbers per atom."""
        row = self.registers[register]
        return int(row["channels"] * row["components"])

    def _place_values(self, program: Program, energy: int | None) -> None:
        room, last = _Room(0), _last_readers(program)
        lasting = {energy, *program.outputs, *self.arguments, *_read_by(program, _PRODUCTS)}
        for register in self.arguments:
            self.registers[register]["value"] = 0  # which nobody reads
        for operation in program.operations:
            row = self.registers[operation.out]
            if operation.out in self.in_place:
                row["value"] = self.registers[operation.x]["value"]
            else:
                row["value"] = room.take(self.size(operation.out))
            if isinstance(operation, Activation):
                row["first"] = room.take(self.size(operation.out))
                if operation.function != Function.SHIFTED_SOFTPLUS:
                    row["second"] = room.take(self.size(operation.out))
            for register in set(inputs(operation)) - lasting:
                if last[register] is operation and operation.out not in self.in_place:
                    room.give(self.size(register), self.registers[register]["value"])
        convolutions = [o for o in program.operations if isinstance(o, FilterConv)]
        widths = [self.registers[convolution.out]["channels"] for convolution in convolutions]
        self.scratch = room.take(2 * int(max(widths, default=0)))
        self.tape = room.end

    def _place_adjoints(self, program: Program, energy: int | None) -> None:
        room, registers = _Room(self.tape), self.registers
        lasting = {o.out for o in program.operations if isinstance(o, (*_PRODUCTS, Activation))}
        lasting |= {o.x for o in program.operations if o.out in self.in_place}

        def place(register: int | None) -> None:
            if register is None or not registers[register]["moves"]:
                return
            if registers[register]["adjoint"] < 0:
                registers[register]["adjoint"] = room.take(self.size(register))

        place(energy)
        for operation in reversed(program.operations):
            row = registers[operation.out]
            if not row["moves"]:
                continue
            if operation.out in self.in_place:
                registers[operation.x]["adjoint"] = row["adjoint"]
            for register in inputs(operation):
                place(register)
            if operation.out not in lasting:
                room.give(self.size(operation.out), row["adjoint"])
        self.tape_with_adjoints = room.end

    def _place_tangents(self, program: Program) -> None:
        room, registers, last = _Room(0), self.registers, _last_readers(program)
        lasting = {*program.outputs, *_read_by(program, (*_PRODUCTS, Activation))}
        for register in _read_by(program, (FilterConv,)):  # also where it is 0: kernels take it
            registers[register]["tangent"] = room.take(self.size(register))
        for operation in program.operations:
            row = registers[operation.out]
            if row["moves"] and row["tangent"] < 0:
                row["tangent"] = room.take(self.size(operation.out))
            for register in set(inputs(operation)) - lasting:
                if last[register] is operation and registers[register]["tangent"] >= 0:
                    room.give(self.size(register), registers[register]["tangent"])
        self.workspace = room.end

    def _place_gradients(self, program: Program) -> None:
        room, registers = _Room(self.workspace), self.registers

        def place(register: int) -> None:
            if registers[register]["gradient"] < 0 and register not in self.arguments:
                registers[register]["gradient"] = room.take(self.size(register))

        for output in program.outputs:
            place(output)
        for operation in reversed(program.operations):
            out = registers[operation.out]
            if operation.out in self.in_place:
                registers[operation.x]["gradient"] = out["gradient"]
                continue
            for register in inputs(operation):
                place(register)
            room.give(self.size(operation.out), out["gradient"])
        self.workspace = room.end


def _read_by(program: Program, kinds: tuple[type, ...]) -> set[int]:
    """What operations of these kinds read."""
    return {r for o in program.operations if isinstance(o, kinds) for r in inputs(o)}


def _last_readers(program: Program) -> dict[int, object]:
    return {r: operation for operation in program.operations for r in inputs(operation)}


def _in_place(program: Program) -> set[int]:
    """Results of activations that may lie where their arguments were."""
    uses = Counter(r for operation in program.operations for r in inputs(operation))
    written = {operation.out for operation in program.operations}
    return {
        operation.out
        for operation in program.operations
        if isinstance(operation, Activation)
        and uses[operation.x] == 1
        and operation.x in written
        and operation.x not in program.outputs
    }
