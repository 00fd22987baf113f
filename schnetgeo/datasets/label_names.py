"""Names of labels in files of named arrays."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from schnetgeo.data.labels import Keys
from schnetgeo.errors import InputError


class Label(NamedTuple):
    """Name of an array, and the sign that it is read with."""

    name: str
    sign: float


def only_name_in(where: str, names: Collection[str], usual: Iterable[str]) -> str | None:
    """The one of some names that an array has, or `None`.

    Args:
        where: name of the file.
        names: of all arrays.
        usual: what the array may be called.

    Raises:
        InputError: where there are two of them.
    """
    present = [name for name in usual if name in names]
    if len(present) > 1:
        raise InputError(
            f"{where}: has {' and '.join(present)}, of which only one is read; drop the other as "
            f"in drop=({present[1]!r},) (--drop {present[1]})"
        )
    return present[0] if present else None


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
        InputError: if the user names one that is not there, or none where there are two.
    """
    key = getattr(keys, label)
    if key is None:
        name = only_name_in(where, names, usual)
        return None if name is None else Label(name, 1.0)
    for name, sign in ((key, 1.0), (key.removeprefix("-"), -1.0)):
        if name in names:
            return Label(name, sign)
    raise InputError(f"{where}: has no {key!r}; it has {', '.join(sorted(names))}")
