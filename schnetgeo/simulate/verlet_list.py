"""Edges that are kept while atoms move and cells deform."""

import copy

import numpy as np
from ase import Atoms
from jaxtyping import Float

from schnetgeo.data.graph import with_edges
from schnetgeo.data.structure import Structure
from schnetgeo.errors import InputError


class VerletList:
    """Edges up to cutoff + skin, built anew only where one shorter than the cutoff may be missing.

    With C = C₀ F the cell and u_i = r_i F⁻¹ − r⁰_i the displacement without the strain, a pair that
    is not listed is at least σ_min(F) (cutoff + skin − 2 max|u|) apart, which must not be less than
    the cutoff. This is exact, because an edge as long as the cutoff or longer has the weight 0.

    Args:
        cutoff: Å.
        skin: Å; 0 builds the edges anew for every structure.

    Raises:
        InputError: for a skin that is no distance.
    """

    def __init__(self, cutoff: float, skin: float):
        self.cutoff, self.skin = cutoff, check_skin(skin)
        self._last: tuple[Atoms, Structure] | None = None

    def edges(self, atoms: Atoms, data: Structure) -> tuple[Structure, bool]:
        """The structure with edges, and whether they were built anew.

        Args:
            atoms: where the atoms are.
            data: the same as structure.
        """
        if self._last is not None and self._holds(atoms, self._last[0]):
            listed = copy.copy(self._last[1]).update({"pos": data.pos, "cell": data.cell})
            return listed, False
        self._last = atoms.copy(), with_edges(data, self.cutoff + self.skin)
        return copy.copy(self._last[1]), True

    def _holds(self, atoms: Atoms, before: Atoms) -> bool:
        same = np.array_equal(atoms.numbers, before.numbers)
        if not (same and np.array_equal(atoms.pbc, before.pbc)):
            return False
        if np.array_equal(atoms.cell.array, before.cell.array):
            positions, shrinking = atoms.positions, 1.0
        else:
            positions, shrinking = _without_strain(atoms, before)
        displacement = np.linalg.norm(positions - before.positions, axis=1).max()
        # not where it is NaN, which the next list refuses
        return bool(shrinking * (self.cutoff + self.skin - 2 * displacement) >= self.cutoff)


def _without_strain(atoms: Atoms, before: Atoms) -> tuple[Float[np.ndarray, "N 3"], float]:
    """Positions r F⁻¹ in the cell before, and σ_min(F); NaN where a cell has no volume."""
    cell, reference = (a.cell.complete().array for a in (atoms, before))
    if not (np.linalg.det(cell) and np.linalg.det(reference)):
        return np.full_like(atoms.positions, np.nan), 0.0
    deformation = np.linalg.solve(reference, cell)
    smallest = float(np.linalg.svd(deformation, compute_uv=False)[-1])
    return np.linalg.solve(deformation.T, atoms.positions.T).T, smallest * (1 - 1e-9)


def check_skin(skin: float) -> float:
    """The skin, or an `InputError` unless it is a distance."""
    if not 0 <= skin < np.inf:
        raise InputError(f"skin must be a distance in Å, 0 or more, got {skin}")
    return skin
