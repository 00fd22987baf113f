"""Dynamics: how well the energy is kept, and how long a molecule holds together."""

from collections.abc import Iterator

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.md.verlet import VelocityVerlet

from benchmarks.physics.bonds import find_bonds, lengths
from benchmarks.physics.findings import Checked, Curve, Finding, missing
from schnetgeo.errors import InputError

STEP_FS = 0.5
_EVERY = 10  # steps between two looks
_FRICTION = 0.01  # 1/fs
_BROKEN = 0.5  # Å that a bond may deviate


def drift(atoms: Atoms, steps: int, temperature: float = 300.0, seed: int = 0) -> Checked:
    """Total energy of constant-energy dynamics: slope of a line through it, and what is left.

    From a relaxed structure with velocities of twice the temperature, half of which goes into the
    bonds.
    """
    check = "drift"
    atoms = _started(atoms, 2 * temperature, seed)
    dynamics = VelocityVerlet(atoms, STEP_FS * units.fs)
    done = f"{steps} steps of {STEP_FS} fs at about {temperature:g} K, constant energy"
    at, energy = [0], [atoms.get_total_energy()]
    for step in _looks(dynamics, atoms, steps):
        at.append(step)
        energy.append(atoms.get_total_energy())
    time, per_atom = np.array(at) * STEP_FS / 1000, 1000 * np.array(energy) / len(atoms)
    per_atom -= per_atom[0]
    curve = Curve("constant energy", time, per_atom, "time, ps", "total energy, meV/atom")
    if at[-1] < steps // _EVERY * _EVERY or not np.isfinite(per_atom).all():
        lost = missing(check, f"{done}: positions were lost after {time[-1]:.2f} ps")
        return lost._replace(curve=curve)
    slope, offset = np.polyfit(time, per_atom, 1)
    left = float(np.std(per_atom - slope * time - offset))
    return Checked(
        [
            Finding(check, "slope", float(slope), "meV/atom/ps", f"{done}; linear fit"),
            Finding(check, "fluctuation", left, "meV/atom", f"{done}; about the fit"),
        ],
        curve,
    )


def stability(atoms: Atoms, temperature: float, max_ps: float, seed: int = 0) -> Checked:
    """Time until a bond deviates by more than 0.5 Å from its relaxed length.

    Source: Fu et al., Forces are not Enough, 2022, arXiv:2210.07237.
    """
    check = "stability"
    bonds = find_bonds(atoms)
    if not len(bonds.pairs):
        return missing(check, "the structure has no bonds")
    relaxed = lengths(bonds, atoms)
    atoms = _started(atoms, temperature, seed)
    dynamics = Langevin(
        atoms, STEP_FS * units.fs, temperature_K=temperature, friction=_FRICTION / units.fs,
        fixcm=False, rng=np.random.default_rng(seed),
    )  # fmt: skip
    steps = max(_EVERY, round(1000 * max_ps / STEP_FS))
    time, end = 0.0, "positions were lost"
    for step in _looks(dynamics, atoms, steps):
        time = step * STEP_FS / 1000
        deviation = np.abs(lengths(bonds, atoms) - relaxed)
        if deviation.max() > _BROKEN:
            first, second = bonds.pairs[deviation.argmax()]
            pair = f"{atoms.symbols[first]}{first}–{atoms.symbols[second]}{second}"
            end = f"{pair} was off by more than {_BROKEN} Å"
            break
        if step + _EVERY > steps:
            end = "stable to the end"
    done = f"Langevin, {STEP_FS} fs, friction {_FRICTION}/fs, {max_ps:g} ps at most; {end}"
    return Checked([Finding(check, f"time at {temperature:g} K", time, "ps", done)])


def _started(atoms: Atoms, temperature: float, seed: int) -> Atoms:
    moving = atoms.copy()
    moving.calc = atoms.calc
    rng = np.random.default_rng(seed)
    MaxwellBoltzmannDistribution(moving, temperature_K=temperature, rng=rng)
    Stationary(moving)
    return moving


def _looks(dynamics: MolecularDynamics, atoms: Atoms, steps: int) -> Iterator[int]:
    """The steps made, after every tenth; ends early where positions are no numbers any more."""
    for step in range(_EVERY, steps + 1, _EVERY):
        try:
            dynamics.run(_EVERY)
        except InputError:  # no neighbors of atoms that are nowhere
            return
        if not np.isfinite(atoms.positions).all():
            return
        yield step
