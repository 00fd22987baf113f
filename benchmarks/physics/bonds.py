"""Bonds of a structure from covalent radii, and those that one can turn or break."""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import natural_cutoffs, neighbor_list
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from schnetgeo.errors import InputError

_REACH = 1.2  # times the sum of the covalent radii
_SINGLE = 0.93  # below this part of the sum a bond is a multiple one, and stiff


class Bonds(NamedTuple):
    """M bonds, each listed once."""

    pairs: Int[np.ndarray, "M 2"]
    shifts: Int[np.ndarray, "M 3"]  # lattice vectors from the first atom's cell to the second's


class Bond(NamedTuple):
    """A bond that no ring holds together, and the atoms on the smaller side of it."""

    fixed: int
    moved: int
    side: Bool[np.ndarray, "N"]
    turns: bool  # both ends have other neighbors, so that a dihedral is defined


def find_bonds(atoms: Atoms) -> Bonds:
    """All pairs closer than 1.2 times the sum of their covalent radii."""
    i, j, shifts = neighbor_list("ijS", atoms, natural_cutoffs(atoms, mult=_REACH))
    later = np.array([tuple(s) > (0, 0, 0) for s in shifts], dtype=bool)
    once = (i < j) | ((i == j) & later)
    return Bonds(np.stack([i, j], 1)[once], shifts[once])


def lengths(bonds: Bonds, atoms: Atoms) -> Float[np.ndarray, "M"]:
    """Å; atoms may have left their cell since the bonds were found."""
    first, second = atoms.positions[bonds.pairs.T]
    return np.linalg.norm(second + bonds.shifts @ atoms.cell.array - first, axis=1)


def find_bond(atoms: Atoms, given: list[int] | None = None) -> Bond | None:
    """The bond to scan: as `given`, else the most central single one, if it can be one that turns.

    Raises:
        InputError: if `given` is no bond, or one of a ring.
    """
    bonds = find_bonds(atoms)
    if given is not None:
        return _given(bonds, atoms, given)
    total = covalent_radii[atoms.numbers[bonds.pairs]].sum(1)
    single = lengths(bonds, atoms) > _SINGLE * total
    found = [(_bond(bonds, index, len(atoms)), single[index]) for index in range(len(total))]
    found = [(bond, alone) for bond, alone in found if bond is not None]
    if not found:
        return None
    return max(found, key=lambda pair: (pair[0].turns, pair[1], pair[0].side.sum()))[0]


def _given(bonds: Bonds, atoms: Atoms, given: list[int]) -> Bond:
    match = (np.sort(bonds.pairs, 1) == np.sort(given)).all(1)
    if len(given) != 2 or not match.any():
        known = ", ".join(f"{i} {j}" for i, j in bonds.pairs)
        raise InputError(f"bond {' '.join(map(str, given))} is none; there are {known}")
    bond = _bond(bonds, int(match.argmax()), len(atoms))
    if bond is None:
        raise InputError(
            f"bond {given[0]} {given[1]} is part of a ring, which can be neither turned nor pulled "
            "apart; give another, or none"
        )
    return bond


def _bond(bonds: Bonds, index: int, num_atoms: int) -> Bond | None:
    """The bond of that index, unless its ends stay connected without it."""
    first, second = bonds.pairs[index]
    others = np.delete(bonds.pairs, index, axis=0).T
    graph = coo_array((np.ones(others.shape[1]), tuple(others)), (num_atoms, num_atoms))
    _, part = connected_components(graph, directed=False)
    if part[first] == part[second]:
        return None
    sides = [part == part[first], part == part[second]]
    turns = all(side.sum() > 1 for side in sides)
    if sides[0].sum() < sides[1].sum():
        return Bond(int(second), int(first), sides[0], turns)
    return Bond(int(first), int(second), sides[1], turns)
