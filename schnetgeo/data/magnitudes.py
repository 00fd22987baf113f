"""Magnitudes that no molecule or crystal has: what they say is that a unit is wrong."""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from ase.data import atomic_masses, covalent_radii
from torch import Tensor

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.structure import Structure
from schnetgeo.units import BOHR, HARTREE

SAMPLE = 32  # structures that are looked at
SHORT, LONG = 0.62, 1.5  # nearest neighbors in bond lengths
BONDS = (0.8, SHORT / BOHR)  # the middle one in Å; the same numbers in Bohr would be too short
HIGH_FORCE = 15.0  # eV/Å, median
HIGH_STRESS = 3.0  # eV/Å³, 480 GPa
HIGH_DENSITY = 40.0  # g/cm³; osmium has 22.6
HIGH_ENERGY = 20.0  # eV per atom above free atoms
_CENTERS = 32  # atoms of a structure whose neighbors are looked for
_NOBLE = (2, 10, 18, 36, 54, 86)
_DALTON_PER_CUBIC_ANGSTROM = 1.66053906660  # g/cm³


class Doubt(NamedTuple):
    """A magnitude that hardly exists; `kind` is that of the unit that would explain it."""

    kind: str
    text: str


def doubts(dataset: StructureDataset) -> Iterator[Doubt]:
    """What is hardly possible in eV and Å among some structures of a data set.

    Looked at are the distances of nearest neighbors in units of bond lengths, densities, energies
    (which cannot lie below those of all electrons of the free atoms by more than bonds do), forces
    and stresses.
    """
    sample = dataset[:: max(1, len(dataset) // SAMPLE)]
    yield from _lengths(sample[:: max(1, len(sample) // 8)])  # each structure costs a search
    if sample.has_property("energy"):
        yield from _energies(sample)
    if sample.has_property("forces"):
        force = _median(torch.linalg.vector_norm(_known(sample, "forces"), dim=1))
        if force > HIGH_FORCE:
            yield Doubt("force", f"half of the forces are above {force:.3g} eV/Å")
    if sample.has_property("stress"):
        stress = _median(_known(sample, "stress").abs().amax((1, 2)))
        if stress > HIGH_STRESS:
            yield Doubt("stress", f"half of the stresses are above {stress:.3g} eV/Å³")


def bonds_in_angstrom(dataset: StructureDataset) -> bool:
    """Whether nearest neighbors are bond lengths apart in Å, and would be too close in Bohr."""
    sample = dataset[:: max(1, len(dataset) // SAMPLE)]
    ratios = _nearest_of_all(sample)
    if not ratios.numel():
        return False
    low, middle = np.quantile(ratios.numpy(), (0.1, 0.5)).tolist()
    return low > SHORT and BONDS[0] < middle < BONDS[1]


def _lengths(sample: StructureDataset) -> Iterator[Doubt]:
    ratios = _nearest_of_all(sample)
    if ratios.numel() > 2:  # one pair of atoms may be at any distance
        low, middle = np.quantile(ratios.numpy(), (0.1, 0.5)).tolist()
        if middle < SHORT:
            yield Doubt(
                "length", f"atoms are {middle:.2g} bond lengths from their nearest neighbor"
            )
            return
        if low > LONG:
            hint = ", as where Bohr are taken for Å" if abs(low * BOHR - 1) < 0.3 else ""
            yield Doubt(
                "length",
                f"atoms are {low:.2g} bond lengths and more from their nearest neighbor{hint}",
            )
            return
    density = _median_density(sample)
    if density > HIGH_DENSITY:
        yield Doubt("length", f"half of the crystals are denser than {density:.3g} g/cm³")


def _nearest_of_all(sample: StructureDataset) -> Tensor:
    """Distances of some atoms to their nearest neighbors, divided by the sum of their radii."""
    structures, sizes = sample.materialize()
    pairs = zip(
        structures.z.split(sizes.tolist()),
        structures.pos.double().split(sizes.tolist()),
        strict=True,
    )
    cells = _periodic_cells(structures, len(sizes))
    return torch.cat([_nearest(z, pos, cell) for (z, pos), cell in zip(pairs, cells, strict=True)])


def _periodic_cells(structures: Structure, count: int) -> list[Tensor | None]:
    """Lattice vectors along the periodic directions; `None` where there are none."""
    if structures.get("pbc") is None:
        return [None] * count
    pairs = zip(structures.cell.double(), structures.pbc, strict=True)
    return [cell[pbc] if pbc.any() else None for cell, pbc in pairs]


def _nearest(z: Tensor, pos: Tensor, cell: Tensor | None) -> Tensor:
    chosen = torch.arange(0, z.numel(), 1 + (z.numel() - 1) // _CENTERS)
    chosen = chosen[~torch.isin(z[chosen], torch.tensor(_NOBLE))]
    points = pos
    if cell is not None and z.numel() < 2000:
        steps = torch.tensor(list(product((-1, 0, 1), repeat=len(cell))), dtype=torch.float64)
        points = (pos + (steps @ cell).unsqueeze(1)).reshape(-1, 3)
    distance = torch.cdist(pos[chosen], points, compute_mode="donot_use_mm_for_euclid_dist")
    distance[distance < 1e-6] = torch.inf  # the atom itself
    radii = torch.from_numpy(covalent_radii)
    bond = radii[z[chosen]].unsqueeze(1) + radii[z].repeat(len(points) // len(pos))
    nearest = (distance / bond).amin(1)
    return nearest[torch.isfinite(nearest)]


def _median_density(sample: StructureDataset) -> float:
    """Of the crystals among the structures, in g/cm³; 0 where there are none."""
    if not sample.has_property("pbc"):
        return 0.0
    structures, sizes = sample.materialize()
    owner = torch.arange(sizes.numel()).repeat_interleave(sizes)
    masses = torch.from_numpy(atomic_masses)[structures.z]
    mass = masses.new_zeros(sizes.numel()).index_add(0, owner, masses)
    full = structures.pbc.all(1)
    volume = torch.linalg.det(structures.cell.double()).abs()
    return _median((_DALTON_PER_CUBIC_ANGSTROM * mass / volume)[full])


def _known(sample: StructureDataset, label: str) -> Tensor:
    """A label of those structures that have it."""
    return sample.get_property(label)[sample.mask(label)].double()


def _median(values: Tensor) -> float:
    return float(values.median()) if values.numel() else 0.0


def _energies(sample: StructureDataset) -> Iterator[Doubt]:
    structures, sizes = sample[sample.mask("energy")].materialize()
    owner = torch.arange(sizes.numel()).repeat_interleave(sizes)
    electrons = all_electron_energy(structures.z.double())
    bound = electrons.new_zeros(sizes.numel()).index_add(0, owner, electrons)
    low = structures.energy < 1.15 * bound - HIGH_ENERGY * sizes
    high = structures.energy > HIGH_ENERGY * sizes
    for outside, word in ((low, "below all that its electrons can make"), (high, "above")):
        if 2 * int(outside.sum()) > sizes.numel():
            k = int(outside.nonzero()[0])
            yield Doubt(
                "energy",
                f"an energy of {float(structures.energy[k]):.6g} eV for {int(sizes[k])} atoms is "
                + (word if word != "above" else f"{HIGH_ENERGY:g} eV an atom and more above zero"),
            )


def all_electron_energy(z: Tensor) -> Tensor:
    """Energy of free atoms in eV, within some percent.

    −0.7687 Z^(7/3) + 0.5 Z² − 0.2699 Z^(5/3) Hartree, the Thomas-Fermi series.

    Source: Schwinger, Phys. Rev. A 24, 2353 (1981).
    """
    return HARTREE * (-0.7687 * z ** (7 / 3) + 0.5 * z**2 - 0.2699 * z ** (5 / 3))
