"""Numbers of atoms and edges that notice when a model branches on them."""

from collections.abc import Callable
from typing import Self

from schnetgeo.engine.lowering.values import NotLowered


class NumRows(int):
    """A number of atoms or edges, or what arithmetic makes of it.

    It may be a size of a tensor and be equal to another, as shapes are checked. To compare it with
    a constant would make a program of that number of atoms alone.
    """

    __hash__ = int.__hash__

    def __eq__(self, other: object) -> bool:
        if isinstance(other, int) and not isinstance(other, NumRows):
            self._refuse()
        return int.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def _refuse(self, *_) -> bool:
        raise NotLowered("branches on the number of atoms or edges")

    __lt__ = __le__ = __gt__ = __ge__ = __bool__ = _refuse


def _arithmetic(name: str) -> Callable[[NumRows, object], object]:
    operation = getattr(int, name)

    def method(self: NumRows, other: object) -> Self | object:
        result = operation(self, other)
        return NumRows(result) if isinstance(result, int) else result

    return method


for _name in ("add", "sub", "mul", "floordiv", "mod"):
    for _method in (f"__{_name}__", f"__r{_name}__"):
        setattr(NumRows, _method, _arithmetic(_method))
