"""Many structures at once go where each goes alone."""

import numpy as np
import pytest
import torch
from ase import units
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

import schnetgeo as sg
from schnetgeo.datasets import Demo
from schnetgeo.simulate import batch_dynamics, relax_batch
from schnetgeo.simulate.batch_forces import BatchForces
from tests.simulate.models import potential, springs

MORSE = springs()


def some(step=60):
    """Molecules without fluorine and sulfur, which the springs do not know."""
    return Demo("molecules")[::step]


@pytest.mark.parametrize("optimizer", ["LBFGS", "FIRE"])
@pytest.mark.parametrize("max_atoms", [30, 4096])
def test_relaxations_end_where_forces_vanish(optimizer, max_atoms):
    dataset = some()
    done = relax_batch(
        dataset, MORSE, fmax=0.01, max_steps=3000, optimizer=optimizer, max_atoms=max_atoms
    )
    assert done.converged.all()
    first = 0
    for k, data in enumerate(dataset):
        rows = slice(first, first + data.num_nodes)
        first += data.num_nodes
        moved = sg.data.Structure(z=data.z, pos=done.pos[rows])
        prediction = MORSE(moved)
        assert prediction.energy.item() == pytest.approx(done.energy[k].item(), abs=1e-9)
        assert prediction.forces.norm(dim=1).max() < 0.01
        torch.testing.assert_close(prediction.forces, done.forces[rows], rtol=0, atol=1e-9)


def test_a_relaxation_does_not_depend_on_its_neighbors():
    together = relax_batch(some(), MORSE, fmax=0.02)
    for k in (0, len(some()) - 1):
        alone = relax_batch(some()[[k]], MORSE, fmax=0.02)
        assert alone.energy[0] == pytest.approx(float(together.energy[k]), abs=2e-3)


@pytest.mark.parametrize("optimizer", ["LBFGS", "FIRE"])
def test_displaced_minima_are_reached_again(optimizer):
    frames = [sg.to_ase(data) for data in some(200)]
    for k, atoms in enumerate(frames):
        atoms.calc = sg.Calculator(MORSE)
        BFGS(atoms, logfile=None).run(fmax=1e-3, steps=2000)
        frames[k] = sg.data.Structure(z=some(200)[k].z, pos=torch.from_numpy(atoms.positions))
    energies = torch.cat([MORSE(data).energy for data in frames])
    generator = torch.Generator().manual_seed(0)
    for data in frames:
        data.pos += 0.01 * torch.randn(data.pos.shape, generator=generator, dtype=torch.float64)
    dataset = sg.data.packed.StructureDataset.from_list(frames)
    done = relax_batch(dataset, MORSE, fmax=1e-3, max_steps=2000, optimizer=optimizer)
    torch.testing.assert_close(done.energy, energies, rtol=0, atol=1e-3)


def test_too_few_steps_say_so():
    done = relax_batch(some(), MORSE, fmax=1e-6, max_steps=2)
    assert not done.converged.any()
    assert (done.steps == 2).all()
    with pytest.raises(sg.InputError, match="optimizer: 'Newton' is unknown"):
        relax_batch(some(), MORSE, optimizer="Newton")


def test_edges_are_kept_and_never_missing():
    of = potential()
    forces = BatchForces(of, some(), torch.arange(len(some())), skin=0.4)
    pos, generator = forces.pos, torch.Generator().manual_seed(0)
    for _ in range(20):
        pos = pos + 0.03 * torch.randn(pos.shape, generator=generator, dtype=pos.dtype)
        energy, force = forces(pos)
        batch = some().batch(range(len(some())))
        batch.pos = pos
        fresh = of(batch)
        torch.testing.assert_close(energy, fresh.energy, rtol=0, atol=1e-10)
        torch.testing.assert_close(force, fresh.forces, rtol=0, atol=1e-10)


def test_dynamics_are_those_of_ase():
    dataset = some(200)
    frames = list(batch_dynamics(dataset, MORSE, steps=40, timestep=0.5, every=20, seed=1))
    assert [frame.step for frame in frames] == [0, 20, 40]
    first = 0
    for data in dataset:
        rows = slice(first, first + data.num_nodes)
        first += data.num_nodes
        atoms = sg.to_ase(data)
        atoms.calc = sg.Calculator(MORSE)
        atoms.set_velocities(frames[0].velocities[rows].numpy())
        VelocityVerlet(atoms, 0.5 * units.fs).run(40)
        np.testing.assert_allclose(atoms.positions, frames[-1].pos[rows], atol=1e-9)
        np.testing.assert_allclose(atoms.get_velocities(), frames[-1].velocities[rows], atol=1e-9)


def test_the_thermostat_has_the_temperature():
    dataset = some(40)
    options = {"steps": 1500, "timestep": 0.5, "temperature": 300.0, "friction_time": 20.0}
    frames = list(batch_dynamics(dataset, MORSE, every=25, **options))
    late = torch.stack([frame.temperature for frame in frames[20:]])
    weights = dataset.num_atoms.double()
    mean = float((late * weights).sum() / (weights.sum() * len(late)))
    assert mean == pytest.approx(300, rel=0.08)


def test_energy_is_conserved_in_each_structure():
    frames = list(batch_dynamics(some(100), potential(scale=0.1), steps=200, timestep=0.2))
    total = torch.stack([frame.energy + frame.kinetic for frame in frames])
    assert (total.max(0).values - total.min(0).values).max() < 2e-3
    with pytest.raises(sg.InputError, match="timestep must be above 0"):
        next(batch_dynamics(some(), MORSE, steps=1, timestep=0.0))
