"""The structures that every program gets, and a model that knows their elements."""

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, molecule

from schnetgeo.nn import AtomisticModel
from schnetgeo.potential import Potential

REFERENCES = {1: -13.6, 6: -1035.0, 8: -2043.0, 14: -7876.0}  # eV, as large as total energies are


def structures() -> dict[str, Atoms]:
    """Ethanol, hexane and silicon with atoms 0.05 Å off their places."""
    atoms = {
        "ethanol, 9 atoms": molecule("CH3CH2OH"),
        "hexane, 20 atoms": hexane(),
        "silicon, 64 atoms": bulk("Si", cubic=True) * 2,
    }
    for each in atoms.values():
        each.rattle(0.05, seed=1)
    return atoms


def hexane() -> Atoms:
    """A stretched chain with tetrahedral angles, bonds of 1.53 and 1.09 Å."""
    half = np.radians(109.47) / 2
    along, across = 1.53 * np.sin(half), 1.53 * np.cos(half)
    carbon = np.array([[k * along, (k % 2) * across, 0.0] for k in range(6)])
    hydrogen = []
    for k, c in enumerate(carbon):
        up = 1 if k % 2 else -1
        sideways = 1.09 * np.array([0, up * np.cos(half), np.sin(half)])
        hydrogen += [c + sideways, c + sideways * [1, 1, -1]]
        if k in (0, 5):
            out = -1 if k == 0 else 1
            hydrogen.append(c + 1.09 * np.array([out * np.sin(half), -up * np.cos(half), 0]))
    return Atoms("C6H14", np.concatenate([carbon, hydrogen]))


def untrained(model: AtomisticModel) -> Potential:
    """A potential with random weights, none of them 0, in float64."""
    generator = torch.Generator().manual_seed(0)
    for weights in model.double().parameters():
        if not weights.any():
            noise = torch.randn(weights.shape, generator=generator, dtype=torch.float64)
            weights.data += 0.1 * noise
    references = torch.zeros(model.max_z, dtype=torch.float64)
    references[list(REFERENCES)] = torch.tensor(list(REFERENCES.values()), dtype=torch.float64)
    return Potential(model, references).eval()
