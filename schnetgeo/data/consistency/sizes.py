"""Sizes of energies, forces and force constants that tell their units."""

from collections.abc import Iterator

import numpy as np
import torch

from schnetgeo.data.consistency.causes import energy_causes
from schnetgeo.data.consistency.energies import WorkTest
from schnetgeo.data.consistency.report import Finding
from schnetgeo.data.magnitudes import all_electron_energy, doubts
from schnetgeo.data.packed import StructureDataset

# eV/Å², median between near frames: of metals and what van der Waals forces hold, of molecules, and
# of small ones, where it may be twice the force constant of a triple bond
STIFFNESS, OF_MOLECULES, OF_SMALL = (0.01, 60.0), (0.5, 150.0), (0.5, 600.0)
_SMALL = 4  # atoms
_COVALENT = (1, 6, 7, 8, 9)  # elements
_KINDS = {"length": "positions", "force": "forces", "energy": "energy", "stress": "stress"}
_ALL_ELECTRON, _ERROR = 1.008, 0.01  # of molecules over the estimate for free atoms, ± error
_LIGHT = 18  # atomic number; without their cores heavier atoms have energies of any size
_SAMPLE = 200  # structures


def size_findings(dataset: StructureDataset, test: WorkTest | None) -> Iterator[Finding]:
    """Energies of all electrons in another unit, `doubts`, and force constants that no bond has."""
    energies = list(_total_energies(dataset))
    yield from energies
    kinds = {"energy"} if energies else set()
    for doubt in doubts(dataset):
        if doubt.kind not in kinds:
            kinds.add(doubt.kind)
            option = f"--{doubt.kind}-unit"
            yield Finding(_KINDS[doubt.kind], doubt.text, f"they are in another unit ({option})")
    if test is not None and "force" not in kinds:
        yield from _stiffness(abs(float(np.median(test.pairs.stiffness))), *_usual(dataset))


def _usual(dataset: StructureDataset) -> tuple[float, float]:
    """The lowest and highest force constant of such structures."""
    elements = torch.tensor(_COVALENT)
    if torch.isin(dataset.get_property("z"), elements).double().mean() < 0.5:
        return STIFFNESS
    return OF_SMALL if int(dataset.num_atoms.median()) <= _SMALL else OF_MOLECULES


def _stiffness(constant: float, low: float, high: float) -> Iterator[Finding]:
    if low < constant < high:
        return
    if constant < low:
        cause = "forces in eV/Å are read as kcal/mol/Å, or in Hartree/Bohr as eV/Å"
    else:
        cause = "forces in kcal/mol/Å are read as eV/Å"
    yield Finding(
        "forces",
        f"they change by {constant:.2g} eV/Å² between near frames, where {low:g} to {high:g} is "
        "usual",
        f"{cause} (--force-unit)",
    )


def _total_energies(dataset: StructureDataset) -> Iterator[Finding]:
    """Energies that are those of all electrons in another unit than eV."""
    if not dataset.has_label("energy"):
        return
    ratio = energy_ratio(dataset)
    light = int(dataset.get_property("z").max()) <= _LIGHT
    if abs(ratio) < 1 and not light:
        return
    # energies without cores may come near those in kJ/mol or Rydberg by chance
    causes = [
        text
        for text in energy_causes(ratio / _ALL_ELECTRON, _ERROR)
        if ratio > 1 or not ("kJ" in text or "Rydberg" in text)
    ]
    if causes:
        yield Finding(
            "energy",
            f"they are {ratio:.3g} times those of all electrons of the atoms",
            " or ".join(causes),
        )


def energy_ratio(dataset: StructureDataset) -> float:
    """Median of the energies over those of all electrons of free atoms, by an estimate."""
    part = dataset[dataset.mask("energy")]
    part = part[:: max(1, len(part) // _SAMPLE)]
    sizes = part.num_atoms
    owner = torch.arange(len(sizes)).repeat_interleave(sizes)
    atoms = all_electron_energy(part.get_property("z").double())
    total = atoms.new_zeros(len(sizes)).index_add(0, owner, atoms)
    return float((part.get_property("energy") / total).median())
