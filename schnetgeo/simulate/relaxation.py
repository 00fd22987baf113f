"""Relaxation of a structure, with its cell if that is wanted."""

from typing import Literal, NamedTuple

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE, LBFGS

from schnetgeo.errors import InputError
from schnetgeo.simulate.structures import Model, frame, largest_force, needs_cell, with_model

_OPTIMIZERS = {"BFGS": BFGS, "LBFGS": LBFGS, "FIRE": FIRE}


class Relaxation(NamedTuple):
    """What a relaxation gave."""

    atoms: Atoms  # the last structure, with its results
    frames: list[Atoms]  # all structures on the way, with energies and forces
    converged: bool

    @property
    def energies(self) -> np.ndarray:
        """(n,) eV."""
        return np.array([atoms.get_potential_energy() for atoms in self.frames])

    @property
    def largest_forces(self) -> np.ndarray:
        """(n,) eV/Å."""
        return np.array([largest_force(atoms) for atoms in self.frames])


def relax(
    atoms: Atoms,
    model: Model,
    *,
    fmax: float = 0.01,
    max_steps: int = 500,
    cell: bool = False,
    optimizer: Literal["BFGS", "LBFGS", "FIRE"] = "BFGS",
) -> Relaxation:
    """Move atoms, and the cell with them, to where forces (and stress times volume) vanish.

        relaxation = relax(molecule("CH3CH2OH"), "model.safetensors")
        relaxation.atoms, relaxation.converged

    Args:
        atoms: start, which is not changed; its constraints hold.
        model: model file, potential or calculator.
        fmax: largest force at the end, eV/Å; with `cell`, of the stress times the volume as well.
        max_steps: of the optimizer.
        cell: relax the cell too, with the Fréchet filter of ASE.
        optimizer: of ASE.

    Raises:
        InputError: as `Calculator`, for a cell without volume, and where forces are not finite.
    """
    if optimizer not in _OPTIMIZERS:
        raise InputError(f"optimizer: {optimizer!r:.40} is unknown; known: BFGS, LBFGS, FIRE")
    if not fmax > 0:
        raise InputError(f"fmax must be above 0 eV/Å, got {fmax:g}")
    if cell:
        needs_cell(atoms, "a relaxation of the cell")
    moving, frames = with_model(atoms, model), []
    target = FrechetCellFilter(moving) if cell else moving

    def look() -> None:
        frames.append(frame(moving))
        if not np.isfinite(frames[-1].get_forces()).all():
            raise InputError("the forces are not finite; start from another structure")

    with _OPTIMIZERS[optimizer](target, logfile=None) as dynamics:
        dynamics.attach(look)
        converged = dynamics.run(fmax=fmax, steps=max_steps)
    return Relaxation(frames[-1], frames, bool(converged))
