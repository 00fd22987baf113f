"""Names of labels in files of named arrays."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from schnetgeo.errors import InputError


class Label(NamedTuple):
    """Name of an array, and the sign that it is read with."""

    name: str
    sign: float


class LabelNames(NamedTuple):
    """Names of the labels; `None` is the usual name, and a minus takes the negative.

    Attributes:
        energy: name of the energy.
        forces: of the forces; "-gradient" where the file has their negative.
        stress: of the stress (1/V) ∂E/∂strain, ASE's sign.
        virial: of the virial W = −V · stress, which comes before a stress.
    """

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None
    virial: str | None = None

    def of(
        self, label: str, where: str, names: Collection[str], usual: Iterable[str]
    ) -> Label | None:
        """The array that holds a label, or `None`.

        Raises:
            InputError: if the user names one that is not there.
        """
        key = getattr(self, label)
        if key is None:
            name = next((name for name in usual if name in names), None)
            return None if name is None else Label(name, 1.0)
        for name, sign in ((key, 1.0), (key.removeprefix("-"), -1.0)):
            if name in names:
                return Label(name, sign)
        raise InputError(f"{where}: has no {key!r}; it has {', '.join(sorted(names))}")
