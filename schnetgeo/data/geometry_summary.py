"""Distances within the structures of a data set, and structures that are alike."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from schnetgeo.data.copies import exact_copies
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.statistics import element_counts
from schnetgeo.data.structure import MAX_Z


class GeometrySummary(NamedTuple):
    """Distances within structures, and structures that are alike."""

    shortest: float | None  # Å, between two atoms of one structure, images left out
    longest: float | None  # Å
    exact_copies: int  # structures whose atoms are at the same places as those of an earlier one
    duplicate_groups: int  # of structures that are copies, rotated, permuted, or mirror images


def geometry_summary(dataset: StructureDataset) -> GeometrySummary:
    """Distances and duplicates; of periodic structures without the images of atoms.

    Structures are alike if they have one composition, cells of one shape, and Σ Z_i Z_j / d_ij^p
    agree for p = 1, 2, 3 to 1e-6: numbers that rotating, permuting and mirroring do not change.
    """
    marks = []
    shortest, longest = math.inf, 0.0
    for block in dataset.iter_chunks():
        pos, z = block.get_property("pos").double(), block.get_property("z")
        sizes = block.num_atoms
        ends = sizes.cumsum(0)
        mark = torch.zeros(len(block), 11, dtype=torch.float64)
        for size in sizes.unique().tolist():
            chosen = (sizes == size).nonzero().flatten()
            for part in chosen.split(max(1, 2**22 // size**2)):
                rows = (ends[part] - size).unsqueeze(1) + torch.arange(size)
                near, far, mark[part, 1:4] = _pairs(pos[rows], z[rows])
                shortest, longest = min(shortest, near), max(longest, far)
        if block.has_property("cell") and block.has_property("pbc"):
            mark[:, 4:] = _lattice(block)
        rows = element_counts(block, MAX_Z).numpy()
        mark[:, 0] = torch.tensor([hash(row.tobytes()) % 2**48 for row in rows])
        marks.append(mark)
    lone = math.isinf(shortest)
    return GeometrySummary(
        None if lone else shortest,
        None if lone else longest,
        exact_copies(dataset),
        _groups(torch.cat(marks)),
    )


def _pairs(pos: Tensor, z: Tensor) -> tuple[float, float, Tensor]:
    """Shortest and longest distance (Å), and Σ Z_i Z_j / d_ij^p of each structure, (B, 3)."""
    i, j = torch.triu_indices(pos.size(1), pos.size(1), offset=1)
    if not i.numel():
        return math.inf, 0.0, torch.zeros(len(pos), 3, dtype=torch.float64)
    distance = torch.linalg.vector_norm(pos[:, i] - pos[:, j], dim=2)
    charge = (z[:, i] * z[:, j]).double()
    sums = [(charge / distance**power).sum(1) for power in (1, 2, 3)]
    return float(distance.min()), float(distance.max()), torch.stack(sums, dim=1)


def _lattice(block: StructureDataset) -> Tensor:
    """Lengths (Å) of the periodic lattice vectors, 2 + cosines between them, their number, (B, 7).

    Rotating and mirroring a crystal does not change them.
    """
    cell = block.get_property("cell").double() * block.get_property("pbc").unsqueeze(2)
    products = cell @ cell.mT
    lengths = products.diagonal(dim1=1, dim2=2).sqrt()
    cosines = products / (lengths.unsqueeze(1) * lengths.unsqueeze(2)).clamp(min=1e-12)
    angles = torch.stack([cosines[:, 0, 1], cosines[:, 0, 2], cosines[:, 1, 2]], dim=1)
    return torch.cat([lengths, 2 + angles, block.get_property("pbc").sum(1, keepdim=True)], dim=1)


def _groups(marks: Tensor) -> int:
    """How many groups of two or more rows agree to 1e-6."""
    marks = marks.numpy()
    marks = marks[np.lexsort((marks[:, 4], marks[:, 1], marks[:, 0]))]
    scale = np.maximum(np.abs(marks[1:]), 1e-12)
    same = (np.abs(np.diff(marks, axis=0)) <= 1e-6 * scale).all(1)
    starts = np.diff(np.concatenate([[False], same]).astype(int)) == 1
    return int(starts.sum())
