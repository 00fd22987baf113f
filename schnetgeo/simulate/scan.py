"""Energy along a bond, an angle or a dihedral."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.constraints import FixInternals
from ase.neighborlist import natural_cutoffs, neighbor_list
from jaxtyping import Bool, Float
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from schnetgeo.errors import InputError
from schnetgeo.simulate.relaxation import relax
from schnetgeo.simulate.structures import Model, frame, with_model

_REACH = 1.2  # times the sum of the covalent radii is a bond
KINDS = {2: "bond, Å", 3: "angle, °", 4: "dihedral, °"}


class Scan(NamedTuple):
    """Energies along one internal coordinate."""

    label: str  # coordinate with its unit
    values: Float[np.ndarray, "n"]  # Å or °
    energies: Float[np.ndarray, "n"]  # eV
    frames: list[Atoms]


def scan(
    atoms: Atoms,
    model: Model,
    indices: Sequence[int],
    values: Sequence[float],
    *,
    relaxed: bool = False,
    fmax: float = 0.02,
    max_steps: int = 300,
) -> Scan:
    """Energies where two atoms have certain distances, three an angle, or four a dihedral.

    The last atom moves with what is bonded to it and not to the others; atoms of a ring move alone.

    Args:
        atoms: start.
        model: model file, potential or calculator.
        indices: two atoms of a bond, three of an angle (its apex in the middle) or four.
        values: distances in Å or angles in °, in the order in which they are gone through.
        relaxed: relax all else at each value, beginning where the one before ended.
        fmax: largest force of a relaxation, eV/Å.
        max_steps: of each relaxation.

    Raises:
        InputError: for indices that are not 2 to 4 different atoms, and as `Calculator`.
    """
    indices = _checked(atoms, indices)
    moving, frames = with_model(atoms, model), []
    mask = moved_side(moving, indices)
    for value in map(float, values):
        _set(moving, indices, value, mask)
        if relaxed:
            moving.set_constraint([*atoms.constraints, _fixed(indices, value, moving)])
            done = relax(moving, moving.calc, fmax=fmax, max_steps=max_steps)
            moving.positions = done.atoms.positions
            moving.set_constraint(atoms.constraints)
        moving.get_forces()
        frames.append(frame(moving))
    energies = np.array([one.get_potential_energy() for one in frames])
    return Scan(KINDS[len(indices)], np.array(values, float), energies, frames)


def _checked(atoms: Atoms, indices: Sequence[int]) -> list[int]:
    indices, count = [int(k) for k in indices], len(atoms)
    valid = all(0 <= k < count for k in indices) and len({*indices}) == len(indices)
    if len(indices) not in KINDS or not valid:
        raise InputError(
            f"indices must be 2 atoms of a bond, 3 of an angle or 4 of a dihedral, all different "
            f"and below {count}, got {indices}"
        )
    return indices


def _set(atoms: Atoms, indices: list[int], value: float, mask: np.ndarray) -> None:
    if len(indices) == 2:
        first, last = indices
        bond = atoms.positions[last] - atoms.positions[first]
        atoms.positions[mask] += bond * (value / np.linalg.norm(bond) - 1)
    elif len(indices) == 3:
        atoms.set_angle(*indices, value, indices=np.flatnonzero(mask))
    else:
        atoms.set_dihedral(*indices, value, indices=np.flatnonzero(mask))


def _fixed(indices: list[int], value: float, atoms: Atoms) -> FixInternals:
    name = {2: "bonds", 3: "angles_deg", 4: "dihedrals_deg"}[len(indices)]
    return FixInternals(**{name: [[value, indices]]}, epsilon=1e-7)


def moved_side(atoms: Atoms, indices: Sequence[int]) -> Bool[np.ndarray, "N"]:
    """The last atom and all that is bonded to it once its bond to the one before is cut."""
    i, j = neighbor_list("ij", atoms, natural_cutoffs(atoms, mult=_REACH))
    ends = {indices[-2], indices[-1]}
    whole = np.array([{a, b} != ends for a, b in zip(i, j, strict=True)], dtype=bool)
    pairs = i[whole], j[whole]
    graph = coo_array((np.ones(len(pairs[0])), pairs), (len(atoms), len(atoms)))
    _, part = connected_components(graph, directed=False)
    side = part == part[indices[-1]]
    if side[list(indices[:-1])].any():  # a ring holds both ends together
        side = np.arange(len(atoms)) == indices[-1]
    return side
