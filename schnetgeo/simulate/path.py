"""Minimum energy paths between two structures, by nudged elastic bands."""

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.mep import NEB
from ase.optimize import FIRE
from jaxtyping import Float

from schnetgeo.errors import InputError
from schnetgeo.simulate.calculator import Calculator
from schnetgeo.simulate.structures import Model, frame


class ReactionPath(NamedTuple):
    """Images from one minimum to another."""

    frames: list[Atoms]
    distance: Float[np.ndarray, "n"]  # along the path, Å
    energies: Float[np.ndarray, "n"]  # eV
    converged: bool

    @property
    def barrier(self) -> float:
        """Highest energy less that of the first image, eV."""
        return float(self.energies.max() - self.energies[0])


def neb(
    start: Atoms,
    end: Atoms,
    model: Model,
    *,
    images: int = 7,
    fmax: float = 0.05,
    max_steps: int = 500,
    climb: bool = True,
) -> ReactionPath:
    """Relax a band of images between two minima, the highest one uphill.

    The band begins as the image-dependent pair potential has it, and each image has a neighbor list
    of its own over one potential.

    Args:
        start: relaxed structure.
        end: another one, of the same atoms in the same order.
        model: model file, potential or calculator.
        images: between the two.
        fmax: largest force across the band at the end, eV/Å.
        max_steps: of the optimizer.
        climb: let the highest image climb to the saddle point.

    Raises:
        InputError: for structures of other atoms, fewer than one image, and as `Calculator`.

    Source: Henkelman, Uberuaga, Jónsson, J. Chem. Phys. 113, 9901 (2000).
    """
    if not np.array_equal(start.numbers, end.numbers):
        raise InputError(
            "start and end must have the same atoms in the same order; sort one like the other"
        )
    if images < 1:
        raise InputError(f"images must be 1 or more, got {images}")
    first = model if isinstance(model, Calculator) else Calculator(model)
    band = [start.copy(), *(start.copy() for _ in range(images)), end.copy()]
    for image in band:
        image.calc = Calculator(first.potential, skin=first.skin)
    path = NEB(band, climb=climb, method="improvedtangent")
    path.interpolate("idpp")
    with FIRE(path, logfile=None) as dynamics:
        converged = dynamics.run(fmax=fmax, steps=max_steps)
    for image in band:
        image.get_forces()
    steps = [
        np.linalg.norm(b.positions - a.positions) for a, b in zip(band, band[1:], strict=False)
    ]
    energies = np.array([image.get_potential_energy() for image in band])
    distance = np.concatenate([[0.0], np.cumsum(steps)])
    return ReactionPath([frame(image) for image in band], distance, energies, bool(converged))
