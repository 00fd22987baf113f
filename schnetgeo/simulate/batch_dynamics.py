"""Dynamics of many structures in one batch."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from ase import units
from ase.data import atomic_masses
from jaxtyping import Float
from torch import Tensor

from schnetgeo.data.packed import StructureDataset
from schnetgeo.errors import InputError
from schnetgeo.simulate.batch_forces import BatchForces
from schnetgeo.simulate.model_source import AnyPotential


class BatchFrame(NamedTuple):
    """B structures of N atoms in all after some steps."""

    step: int
    pos: Float[Tensor, "N 3"]  # Å
    velocities: Float[Tensor, "N 3"]  # ASE's unit, Å √(amu/eV)
    energy: Float[Tensor, "B"]  # potential, eV
    kinetic: Float[Tensor, "B"]  # eV
    temperature: Float[Tensor, "B"]  # K, of 3N degrees of freedom


def batch_dynamics(
    dataset: StructureDataset,
    potential: AnyPotential,
    *,
    steps: int,
    timestep: float = 0.5,
    temperature: float = 300.0,
    friction_time: float | None = None,
    every: int = 10,
    seed: int = 0,
    velocities: Float[Tensor, "N 3"] | None = None,
    skin: float = 0.5,
) -> Iterator[BatchFrame]:
    """Frames of velocity Verlet, or with a friction time of Langevin dynamics (BAOAB).

    Args:
        dataset: starts; cells stay.
        potential: a potential, tabulated or not.
        steps: in all.
        timestep: fs.
        temperature: K, of the start and of the thermostat.
        friction_time: fs; `None` keeps the energy.
        every: steps between two frames; the first is that of the start.
        seed: of velocities and noise.
        velocities: of the start, in ASE's unit; drawn, and without motion of the whole, unless
            given.
        skin: of the edges, Å.

    Raises:
        InputError: for steps or times that are not above 0, and as the potential.

    Source: Leimkuhler, Matthews, J. Chem. Phys. 138, 174102 (2013).
    """
    for name, value in (("steps", steps), ("timestep", timestep), ("every", every)):
        if not value > 0:
            raise InputError(f"{name} must be above 0, got {value}")
    of = BatchForces(potential, dataset, torch.arange(len(dataset)), skin)
    device, dt = of.pos.device, timestep * units.fs
    generator = torch.Generator().manual_seed(seed)
    masses = _masses(dataset).to(device)
    thermal = (units.kB * temperature / masses).sqrt()
    draw = lambda: torch.randn(of.pos.shape, generator=generator, dtype=torch.float64).to(device)  # noqa: E731
    v = _without_drift(of, masses, thermal * draw()) if velocities is None else velocities.clone()
    damping = 0.0 if friction_time is None else float(np.exp(-dt / (friction_time * units.fs)))
    pos = of.pos.clone()
    energy, force = of(pos)
    yield _frame(of, 0, pos, v, energy, masses)
    for step in range(1, steps + 1):
        v = v + 0.5 * dt * force / masses
        if friction_time is None:
            pos = pos + dt * v
        else:
            pos = pos + 0.5 * dt * v
            v = damping * v + (1 - damping**2) ** 0.5 * thermal * draw()
            pos = pos + 0.5 * dt * v
        energy, force = of(pos)
        v = v + 0.5 * dt * force / masses
        if step % every == 0 or step == steps:
            yield _frame(of, step, pos, v, energy, masses)


def _masses(dataset: StructureDataset) -> Float[Tensor, "N 1"]:
    """Those that the structures state, else those of the elements, amu."""
    if dataset.has_property("masses"):
        return dataset.get_property("masses").double().reshape(-1, 1)
    return torch.from_numpy(atomic_masses)[dataset.get_property("z")].reshape(-1, 1)


def _without_drift(of: BatchForces, masses: Tensor, v: Tensor) -> Tensor:
    """Velocities less that of the center of mass of each structure."""
    zeros = v.new_zeros(of.number, 3)
    momentum = zeros.index_add(0, of.index, masses * v)
    total = of.per_structure(masses)
    return v - (momentum / total[:, None])[of.index]


def _frame(
    of: BatchForces, step: int, pos: Tensor, v: Tensor, energy: Tensor, masses: Tensor
) -> BatchFrame:
    kinetic = 0.5 * of.per_structure(masses * v.square())
    counts = of.index.bincount(minlength=of.number)
    return BatchFrame(step, pos, v, energy, kinetic, 2 * kinetic / (3 * counts * units.kB))
