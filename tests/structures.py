"""Random molecules and crystals, and hypothesis strategies that draw them."""

import itertools

import numpy as np
import torch
from ase import Atoms
from hypothesis import strategies as st

from schnetgeo.data import Structure

ELEMENTS = (1, 6, 7, 8, 9)
_SHIFTS = np.array(list(itertools.product((-2, -1, 0, 1, 2), repeat=3)))


def random_cluster(rng: np.random.Generator, num_atoms: int, min_distance: float = 0.8) -> Atoms:
    """Atoms in a ball, none closer to another than `min_distance` in Å."""
    radius = 1.5 * min_distance * num_atoms ** (1 / 3)
    positions = np.empty((0, 3))
    while len(positions) < num_atoms:
        point = rng.uniform(-radius, radius, 3)
        distances = np.linalg.norm(positions - point, axis=1)
        if np.linalg.norm(point) <= radius and (distances >= min_distance).all():
            positions = np.vstack([positions, point])
    return Atoms(rng.choice(ELEMENTS, num_atoms), positions)


def random_crystal(
    rng: np.random.Generator,
    num_atoms: int,
    pbc: tuple[bool, bool, bool] = (True, True, True),
    min_distance: float = 0.8,
    stray: int = 0,
) -> Atoms:
    """Atoms in a skewed cell, images included none closer to another than `min_distance` in Å.

    With `stray` each atom is moved by up to so many lattice vectors along the periodic directions.
    """
    # lower triangular with a long diagonal: no height of the cell is below min_distance
    height = rng.uniform(1, 2, 3) * 1.5 * min_distance * num_atoms ** (1 / 3)
    cell = np.diag(height) + np.tril(rng.uniform(-1, 1, (3, 3)) * height.mean(), -1)
    pbc = np.array(pbc, dtype=bool)
    shifts = _SHIFTS[(_SHIFTS * ~pbc == 0).all(1)] @ cell
    positions = np.empty((0, 3))
    while len(positions) < num_atoms:
        point = rng.uniform(0, 1, 3) @ cell
        distances = np.linalg.norm(positions[:, None] - point + shifts, axis=2)
        if (distances >= min_distance).all():
            positions = np.vstack([positions, point])
    order = rng.permutation(3)  # any lattice vector may be the skewed one
    cell, pbc = cell[order], pbc[order]
    positions += (rng.integers(-stray, stray + 1, positions.shape) * pbc) @ cell
    return Atoms(rng.choice(ELEMENTS, num_atoms), positions, cell=cell, pbc=pbc)


def structure(z, pos, **fields) -> Structure:
    """A structure from lists, float64."""
    pos = torch.as_tensor(pos, dtype=torch.float64)
    return Structure(z=torch.as_tensor(z), pos=pos, **fields)


def generators() -> st.SearchStrategy[np.random.Generator]:
    """NumPy generators."""
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def clusters(max_atoms: int = 12, min_distance: float = 0.8) -> st.SearchStrategy[Atoms]:
    """Molecules of 1 to `max_atoms` atoms."""
    return st.builds(random_cluster, generators(), st.integers(1, max_atoms), st.just(min_distance))


def crystals(
    max_atoms: int = 6,
    min_distance: float = 0.8,
    stray: int = 2,
    pbc: tuple[bool, bool, bool] | None = None,
) -> st.SearchStrategy[Atoms]:
    """Chains, slabs and crystals of 1 to `max_atoms` atoms, some outside their cell."""
    some = st.tuples(st.booleans(), st.booleans(), st.booleans()).filter(any)
    return st.builds(
        random_crystal,
        generators(),
        st.integers(1, max_atoms),
        some if pbc is None else st.just(pbc),
        st.just(min_distance),
        st.integers(0, stray),
    )
