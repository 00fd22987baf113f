"""Numbers of atoms and edges that notice when a model depends on them."""

from collections.abc import Callable
from typing import NoReturn, Self

from schnetgeo.engine.lowering.values import NotLowered


class NumRows(int):
    """A number of atoms or edges, or what +, −, ×, // and % make of it.

    It may be the size of a tensor, and it may equal another one of atoms, or of edges, as where
    shapes are checked. All else that Python can do with an integer, such as to compare it with a
    constant, would make a program for that number of atoms alone.

    Args:
        number: itself.
        rows: the number of atoms or edges that it follows from.
    """

    rows: int

    def __new__(cls, number: int, rows: int) -> Self:
        self = super().__new__(cls, number)
        self.rows = rows
        return self

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int) and (type(other) is not NumRows or other.rows != self.rows):
            self._refuse()
        return int.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def _refuse(self, *_) -> NoReturn:
        raise NotLowered("branches on the number of atoms or edges, or calculates with it")


def _arithmetic(name: str) -> Callable[[NumRows, object], object]:
    operation = getattr(int, name)

    def method(self: NumRows, other: object) -> Self | object:
        result = operation(self, other)
        return NumRows(result, self.rows) if isinstance(result, int) else result

    return method


_ALLOWED = ["add", "sub", "mul", "floordiv", "mod"]
_REFUSED = ["truediv", "pow", "divmod", "lshift", "rshift", "and", "or", "xor"]
_OF_ONE = ["neg", "pos", "abs", "invert", "bool", "hash", "int", "float", "round", "trunc"]
_ORDER = ["lt", "le", "gt", "ge", "floor", "ceil"]

for _name in _ALLOWED:
    for _side in ("", "r"):
        setattr(NumRows, f"__{_side}{_name}__", _arithmetic(f"__{_side}{_name}__"))
for _name in (*_REFUSED, *(f"r{name}" for name in _REFUSED), *_OF_ONE, *_ORDER):
    setattr(NumRows, f"__{_name}__", NumRows._refuse)
