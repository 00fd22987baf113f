"""Sizes of energies, forces and force constants that tell their units."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from schnetgeo.data.consistency.causes import size_causes
from schnetgeo.data.consistency.evidence import Evidence
from schnetgeo.data.consistency.report import Finding
from schnetgeo.data.magnitudes import all_electron_energy, doubts
from schnetgeo.data.packed import StructureDataset

STIFFNESS = (0.5, 60.0)  # eV/Å², median between thermal frames of molecules and crystals
_ALL_ELECTRON = 0.06  # relative error of the estimate


def size_findings(dataset: StructureDataset, evidence: Evidence | None) -> Iterator[Finding]:
    """Energies of all electrons in another unit, force constants that no bond has, and `doubts`."""
    yield from _total_energies(dataset)
    kinds = {"length": "positions", "force": "forces", "energy": "energy", "stress": "stress"}
    for doubt in doubts(dataset):
        yield Finding(kinds[doubt.kind], doubt.text, f"check the unit (--{doubt.kind}-unit)")
    if evidence is None or len(evidence.stiffness) < 8:
        return
    constant = float(np.median(evidence.stiffness))
    low, high = STIFFNESS
    if not low < constant < high:
        causes = size_causes("forces", "--force-unit", constant / 6.0, tolerance=0.75)
        yield Finding(
            "forces",
            f"they change by {constant:.3g} eV/Å² between near frames, where {low:g} to {high:g} "
            "is usual",
            " or ".join(causes) or "check the unit (--force-unit)",
        )


def _total_energies(dataset: StructureDataset) -> Iterator[Finding]:
    """Energies that are those of all electrons in another unit than eV."""
    if not dataset.has_property("energy"):
        return
    ratio = energy_ratio(dataset)
    if abs(ratio - 1) < _ALL_ELECTRON:
        return
    causes = size_causes("energies", "--energy-unit", ratio, _ALL_ELECTRON)
    if causes:
        yield Finding(
            "energy",
            f"they are {ratio:.3g} times those of all electrons of the atoms",
            " or ".join(causes),
        )


def energy_ratio(dataset: StructureDataset) -> float:
    """Median of the energies over those of all electrons of free atoms, by an estimate."""
    part = dataset[dataset.mask("energy")]
    part = part[:: max(1, len(part) // 200)]
    sizes: Tensor = part.num_atoms
    owner = torch.arange(len(sizes)).repeat_interleave(sizes)
    atoms = all_electron_energy(part.get_property("z").double())
    total = atoms.new_zeros(len(sizes)).index_add(0, owner, atoms)
    return float((part.get_property("energy") / total).median())
