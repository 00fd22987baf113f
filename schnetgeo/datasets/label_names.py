"""Names of labels in files of named arrays."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from schnetgeo.data.labels import Keys
from schnetgeo.errors import InputError


class Label(NamedTuple):
    """Name of an array, and the sign that it is read with."""

    name: str
    sign: float


def label_in(
    names: Collection[str], keys: Keys, label: str, usual: Iterable[str], where: str
) -> Label | None:
    """The array that holds a label, or `None`.

    Args:
        names: of all arrays.
        keys: names of the labels as the user gives them.
        label: "energy", "forces", "stress" or "virial".
        usual: what the label is called where the user gives no name.
        where: name of the file.

    Raises:
        InputError: if the user names one that is not there.
    """
    key = getattr(keys, label)
    if key is None:
        name = next((name for name in usual if name in names), None)
        return None if name is None else Label(name, 1.0)
    for name, sign in ((key, 1.0), (key.removeprefix("-"), -1.0)):
        if name in names:
            return Label(name, sign)
    raise InputError(f"{where}: has no {key!r}; it has {', '.join(sorted(names))}")
