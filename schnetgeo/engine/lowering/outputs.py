"""What a model returns for its atoms, and how that follows from the results of its program."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from schnetgeo.engine.lowering.values import Features, NotLowered, Place, describe


@dataclass(frozen=True)
class Output:
    """A tensor that a model returns, one row per atom.

    Args:
        result: its number among the results of the program.
        axes: its dimensions, see `values`; rows come first.
    """

    result: int
    axes: str

    def of(self, results: Sequence[Float[Tensor, "N C F"]]) -> Tensor:
        """The tensor, from all results."""
        x = results[self.result]
        letters = [letter for letter in "rcf" if letter in self.axes]
        x = x.reshape([n for n, letter in zip(x.shape, "rcf", strict=True) if letter in letters])
        order = [letters.index(letter) for letter in self.axes if letter != "1"]
        if order != sorted(order):
            x = x.permute(order)
        for dim, letter in enumerate(self.axes):
            x = x.unsqueeze(dim) if letter == "1" else x
        return x


Outputs = Output | tuple["Outputs", ...]


def select(outputs: Outputs, results: Sequence[Float[Tensor, "N C F"]]) -> Tensor | tuple:
    """What the model returns, from the results of its program."""
    if isinstance(outputs, Output):
        return outputs.of(results)
    return _like(outputs, [select(output, results) for output in outputs])


def first(outputs: Outputs) -> Output:
    """The first tensor that a model returns."""
    return outputs if isinstance(outputs, Output) else first(outputs[0])


def read_outputs(returned: object) -> tuple[Outputs, list[int]]:
    """What a model returned while it was traced, and the registers of its tensors.

    Raises:
        NotLowered: for anything but a tensor with a row for each atom, or tuples of such.
    """
    registers: list[int] = []
    return _read(returned, registers), registers


def _read(returned: object, registers: list[int]) -> Outputs:
    if isinstance(returned, tuple) and returned:
        return _like(returned, [_read(part, registers) for part in returned])
    value = getattr(returned, "value", returned)
    if not isinstance(value, Features) or value.place is not Place.ATOM or value.axes[:1] != "r":
        shape = f" of shape {tuple(returned.shape)}" if isinstance(returned, Tensor) else ""
        raise NotLowered(f"returns {describe(value)}{shape}, not numbers for each atom")
    if value.register not in registers:
        registers.append(value.register)
    return Output(registers.index(value.register), value.axes)


def _like(original: tuple, parts: list) -> tuple:
    """A tuple of the same type, which may be a NamedTuple."""
    make = getattr(type(original), "_make", tuple)
    return make(parts)
