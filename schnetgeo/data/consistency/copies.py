"""Copies with other labels, and tested structures that are copies of trained ones."""

from collections.abc import Iterator

import numpy as np
from scipy.spatial import cKDTree

from schnetgeo.data.consistency.frames import groups
from schnetgeo.data.consistency.report import Finding
from schnetgeo.data.copies import copies_across, differing_copies
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.split import Split

NEAR = 0.02  # Å, root mean square difference of interatomic distances; 0.5 fs apart at 300 K
_MANY = 0.2  # of the tested structures


def copy_findings(dataset: StructureDataset) -> Iterator[Finding]:
    """Structures that are alike, charge and spin too, and have other energies."""
    copies = differing_copies(dataset)
    if copies:
        yield Finding(
            "copies",
            f"{len(copies):,} geometries have several energies",
            "they were computed with other settings, or in another state that the data do not "
            "state as charge or spin; keep one of each",
            tuple(sorted(k for group in copies for k in group)),
        )


def split_findings(dataset: StructureDataset, split: Split) -> Iterator[Finding]:
    """Tested structures that are copies of trained ones, or hardly differ from them."""
    text = copies_across(dataset, split)
    if text:
        yield Finding("copies", *text.removeprefix(f"{dataset.name}: ").split("; ", 1))
        return
    near, count = _near(dataset, split.train.numpy(), split.test.numpy())
    if count and len(near) > _MANY * count:
        yield Finding(
            "copies",
            f"{len(near):,} of {count:,} tested structures are within {NEAR} Å of a trained one",
            "neighbors in time were put into both parts, so that their errors are not those of new "
            "structures; split by time (--split blocks) or by groups (--split group:NAME)",
            tuple(sorted(near)),
        )


def _near(dataset: StructureDataset, train: np.ndarray, test: np.ndarray) -> tuple[list[int], int]:
    """Tested molecules that are near a trained one, and how many were compared."""
    near, count = [], 0
    chosen = np.concatenate([train, test])
    for frames in groups(dataset[chosen.tolist()]):
        trained = frames.index < len(train)
        if frames.cell is not None or not trained.any() or trained.all():
            continue
        i, j = np.triu_indices(len(frames.z), 1)
        marks = np.linalg.norm(frames.pos[:, i] - frames.pos[:, j], axis=2) / np.sqrt(len(i))
        distance = cKDTree(marks[trained]).query(marks[~trained])[0]
        near += chosen[frames.index[~trained][distance < NEAR]].tolist()
        count += len(distance)
    return near, count
