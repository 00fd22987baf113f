"""All data sets that the package knows by name. A new one is its file, and its lines here."""

from collections.abc import Sequence
from typing import TypeVar

from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets.ani1x import ANI1x
from schnetgeo.datasets.demo import Demo
from schnetgeo.datasets.iso17 import ISO17
from schnetgeo.datasets.md17 import MD17
from schnetgeo.datasets.md22 import MD22
from schnetgeo.datasets.published_dataset import PublishedDataset
from schnetgeo.datasets.qm7x import QM7X
from schnetgeo.datasets.qm9 import QM9
from schnetgeo.datasets.rmd17 import RevisedMD17
from schnetgeo.datasets.spice import SPICE
from schnetgeo.datasets.three_bpa import ThreeBPA
from schnetgeo.errors import InputError

__all__ = [
    "ISO17",
    "MD17",
    "MD22",
    "QM7X",
    "QM9",
    "SPICE",
    "ANI1x",
    "Demo",
    "RevisedMD17",
    "ThreeBPA",
]
SETS: tuple[type[PublishedDataset], ...] = (
    QM9, MD17, RevisedMD17, ISO17, Demo, MD22, SPICE, ANI1x, QM7X, ThreeBPA,
)  # fmt: skip


Kind = TypeVar("Kind", bound=type[StructureDataset])


def set_by_name(name: str, sets: Sequence[Kind] = SETS) -> Kind:
    """The class of this name; an `InputError` lists those that there are."""
    for kind in sets:
        if kind.__name__ == name:
            return kind
    known = ", ".join(kind.__name__ for kind in sets)
    raise InputError(f"unknown data set {name!r}; known: {known}")
