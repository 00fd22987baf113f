"""Frames of one molecule or crystal: structures with the same atoms in the same order."""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from schnetgeo.data.packed import StructureDataset
from schnetgeo.geometry import completed_cell

MOST = 2000  # frames that are compared
_MOST_DISTANCES = 4e7  # between atoms of any two of them
_WINDOW = 50  # successive frames that are taken together


class Frames(NamedTuple):
    """Frames of one molecule or crystal in eV and Å; labels that are not there are `None`."""

    index: np.ndarray  # (n,) in the data set
    z: np.ndarray  # (N,)
    pos: np.ndarray  # (n, N, 3)
    forces: np.ndarray | None  # (n, N, 3)
    energy: np.ndarray | None  # (n,)
    cell: np.ndarray | None  # (n, 3, 3), unit vectors along directions that are not periodic
    pbc: np.ndarray  # (3,) bool
    stress: np.ndarray | None  # (n, 3, 3), of crystals that are periodic in all directions

    @property
    def size(self) -> int:
        """Number of frames."""
        return len(self.index)


def groups(dataset: StructureDataset, most: int = MOST) -> Iterator[Frames]:
    """The largest groups of frames, up to `most` frames in all; of many, stretches of each.

    Structures that lack a label which others have are left out.
    """
    chosen = dataset[_labeled(dataset)]
    numbers = defaultdict(list)
    sizes = chosen.num_atoms.tolist()
    kinds = _kinds(chosen)
    for k, z in enumerate(chosen.get_property("z").split(sizes)):
        numbers[z.numpy().tobytes(), kinds[k]].append(k)
    places = _labeled(dataset).nonzero().flatten().numpy()
    left = most
    for members in sorted(numbers.values(), key=len, reverse=True):
        if left < 2 or len(members) < 2:
            return
        atoms = sizes[members[0]]
        part = _stretches(np.array(members), min(left, int((_MOST_DISTANCES / atoms) ** 0.5)))
        left -= len(part)
        yield _frames(chosen[part.tolist()], places[part])


def _labeled(dataset: StructureDataset) -> Tensor:
    known = torch.ones(len(dataset), dtype=torch.bool)
    for label in ("energy", "forces"):
        mask = f"{label}_mask"
        if dataset.has_property(label) and dataset.has_property(mask):
            known &= dataset.get_property(mask)
    return known


def _kinds(dataset: StructureDataset) -> list[tuple]:
    """What frames must have in common: periods, and of slabs and wires the vectors of these."""
    if not dataset.has_property("pbc"):
        return [()] * len(dataset)
    periods, cells = dataset.get_property("pbc"), dataset.get_property("cell").double()
    kinds = []
    for pbc, cell in zip(periods, cells, strict=True):
        partly = bool(pbc.any() and not pbc.all())
        vectors = cell[pbc].mul(1e6).round().flatten().tolist() if partly else []
        kinds.append((*pbc.tolist(), *vectors))
    return kinds


def _stretches(members: np.ndarray, most: int) -> np.ndarray:
    """All, or stretches of successive ones from everywhere."""
    if len(members) <= most:
        return members
    starts = np.linspace(0, len(members) - _WINDOW, max(1, most // _WINDOW)).astype(int)
    return members[np.unique(starts[:, None] + np.arange(_WINDOW))][:most]


def _frames(part: StructureDataset, index: np.ndarray) -> Frames:
    count, atoms = len(part), int(part.num_atoms[0])

    def values(name: str, *shape: int) -> np.ndarray | None:
        if not part.has_property(name):
            return None
        return part.get_property(name).double().numpy().reshape(count, *shape)

    pbc = part.get_property("pbc")[0] if part.has_property("pbc") else torch.zeros(3).bool()
    cell = values("cell", 3, 3) if pbc.any() else None
    if pbc.any() and not pbc.all():  # one cell for all, whose further vectors have no meaning
        cell = completed_cell(torch.from_numpy(cell[:1]), pbc[None]).numpy().repeat(count, 0)
    return Frames(
        index,
        part.get_property("z")[:atoms].numpy(),
        values("pos", atoms, 3),
        values("forces", atoms, 3),
        values("energy"),
        cell,
        pbc.numpy(),
        values("stress", 3, 3) if pbc.all() else None,
    )
