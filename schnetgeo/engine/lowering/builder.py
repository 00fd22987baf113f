"""Writes programs: numbers registers and parameters, and writes each operation once."""

from torch import Tensor

from schnetgeo.engine import program as ops
from schnetgeo.engine.program import Function, Operation, Program, Register


class Parameters:
    """Numbers the parameters and buffers of a model in the order of their use."""

    def __init__(self):
        self.tensors: list[Tensor] = []
        self._numbers: dict[int, int] = {}

    def number(self, tensor: Tensor) -> int:
        """The position of a tensor in `tensors`."""
        if id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = len(self.tensors)
            self.tensors.append(tensor)
        return self._numbers[id(tensor)]


class Builder:
    """Writes a program. Each function returns the register of its result.

    An operation on the same registers is written once, so equal expressions are computed once.
    """

    def __init__(self, *inputs: Register):
        self.registers: list[Register] = list(inputs)
        self.operations: list[Operation] = []
        self._results: dict[tuple, int] = {}

    def program(self, outputs: tuple[int, ...]) -> Program:
        return Program(tuple(self.registers), tuple(self.operations), outputs)

    def channels(self, x: int) -> int:
        return self.registers[x].channels

    def is_vector(self, x: int) -> bool:
        return self.registers[x].components == 3

    def embedding(self, weight: int, channels: int) -> int:
        return self._write(Register(channels), ops.Embedding, weight)

    def linear(self, x: int, weight: int, bias: int | None, channels: int) -> int:
        return self._write(self._like(x, channels), ops.Linear, x, weight, bias)

    def activation(self, x: int, function: Function) -> int:
        return self._write(self.registers[x], ops.Activation, x, function)

    def affine(self, x: int, scale: float = 1.0, shift: float = 0.0) -> int:
        if (scale, shift) == (1.0, 0.0):
            return x
        last = self._writer(x)
        if isinstance(last, ops.Affine):
            return self.affine(last.x, scale * last.scale, scale * last.shift + shift)
        return self._write(self.registers[x], ops.Affine, x, float(scale), float(shift))

    def scale(self, x: int, weight: int) -> int:
        return self._write(self.registers[x], ops.Scale, x, weight)

    def shift(self, x: int, bias: int) -> int:
        return self._write(self.registers[x], ops.Shift, x, bias)

    def add(self, x: int, y: int) -> int:
        return self._write(self._broadcast(x, y), ops.Add, *sorted((x, y)))

    def multiply(self, x: int, y: int) -> int:
        return self._write(self._broadcast(x, y), ops.Multiply, *sorted((x, y)))

    def sum_channels(self, x: int) -> int:
        return x if self.channels(x) == 1 else self._write(self._like(x, 1), ops.SumChannels, x)

    def sum_components(self, x: int) -> int:
        return self._write(Register(self.channels(x)), ops.SumComponents, x)

    def slice(self, x: int, start: int, channels: int) -> int:
        if channels == self.channels(x):
            return x
        return self._write(self._like(x, channels), ops.Slice, x, start)

    def concatenate(self, x: int, y: int) -> int:
        channels = self.channels(x) + self.channels(y)
        return self._write(self._like(x, channels), ops.Concatenate, x, y)

    def filter_conv(self, x: int, filter_register: int, direction: ops.Direction) -> int:
        components = {ops.Direction.GRADIENT: 3, ops.Direction.DIVERGENCE: 1}
        register = self.registers[x]
        shape = Register(register.channels, components.get(direction, register.components))
        return self._write(shape, ops.FilterConv, x, filter_register, direction)

    def constant(self, number: float, channels: int = 1) -> int:
        """A register of one number, from a channel of the first register."""
        row = self.affine(self.slice(0, 0, 1), 0.0, number)
        while self.channels(row) < channels:
            more = min(self.channels(row), channels - self.channels(row))
            row = self.concatenate(row, self.slice(row, 0, more))
        return row

    def spread(self, x: int, channels: int) -> int:
        """One channel repeated for all; a register with as many channels stays as it is."""
        if self.channels(x) == channels:
            return x
        return self.multiply(x, self.constant(1.0, channels))

    def _writer(self, x: int) -> Operation | None:
        """The operation that writes a register; `None` for an input."""
        place = x - (len(self.registers) - len(self.operations))
        return self.operations[place] if place >= 0 else None

    def _like(self, x: int, channels: int) -> Register:
        return Register(channels, self.registers[x].components)

    def _broadcast(self, x: int, y: int) -> Register:
        return Register(*map(max, self.registers[x], self.registers[y]))

    def _write(self, shape: Register, kind: type, *fields) -> int:
        key = kind, *fields
        if key not in self._results:
            self._results[key] = len(self.registers)
            self.operations.append(kind(len(self.registers), *fields))
            self.registers.append(shape)
        return self._results[key]
