"""Make the demo data set: GFN2-xTB energies and forces of small molecules at 500 K.

Run it from the repository root; it needs `ase` and `tblite`:

    python -m benchmarks.make_demo --out schnetgeo/datasets/demo

It writes two files, in eV, eV/Angstrom and Angstrom:

ethanol.npz    one long Langevin trajectory of ethanol, frames in time order.
               Keys z, R, E, F (fixed composition) and time_step_fs.
molecules.npz  62 closed-shell molecules of H, C, N and O, those of the G2 set in ASE and two
               more, 20 frames each of a short Langevin run from the relaxed structure.
               Keys N, Z, R, E, F (atoms of all structures end to end), mol and names:
               structure i has N[i] atoms and is the species names[mol[i]].

Energies and forces are computed at the positions after rounding them to float32, so that
the stored labels belong to the stored positions. One thread and one seed give the same
files again with the same versions of ASE, NumPy and tblite.

GFN2-xTB: C. Bannwarth, S. Ehlert, S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019).
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # the order of sums, hence the trajectory, depends on it

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed
from ase.collections import g2
from ase.constraints import FixCom
from ase.md.langevin import Langevin
from ase.optimize import BFGS
from tblite.ase import TBLite

METHOD = "GFN2-xTB"
TEMPERATURE = 500.0  # K
STEP = 0.5  # fs
FRICTION = 0.01  # 1/fs
EXTRA = ["C7NH5", "BDA"]  # benzonitrile and 1,4-benzenediamine, not in G2
LEFT_OUT = {"CH2_s1A1d"}  # singlet methylene: its ground state is the triplet


def closed_shell_species():
    """Names of the closed-shell molecules of H, C, N and O with at least two atoms."""
    names = []
    for name in [*g2.names, *EXTRA]:
        atoms = molecule(name)
        open_shell = atoms.numbers.sum() % 2 or atoms.get_initial_magnetic_moments().any()
        if set(atoms.symbols) <= set("HCNO") and len(atoms) > 1 and not open_shell:
            names.append(name)
    return sorted((n for n in names if n not in LEFT_OUT), key=lambda n: (len(molecule(n)), n))


def sample(name, equilibration, frames, spacing, rng):
    """Relax a molecule, run it at 500 K and label frames; times in fs. Returns z, R, E, F."""
    atoms = molecule(name)
    atoms.calc = TBLite(method=METHOD, verbosity=0)
    BFGS(atoms, logfile=None).run(fmax=0.01, steps=500)
    atoms.positions -= atoms.get_center_of_mass()  # stays at the origin, where float32 is fine
    atoms.set_constraint(FixCom())
    momentum_std = np.sqrt(units.kB * TEMPERATURE * atoms.get_masses())[:, None]
    atoms.set_momenta(momentum_std * rng.standard_normal((len(atoms), 3)))
    dynamics = Langevin(
        atoms,
        STEP * units.fs,
        temperature_K=TEMPERATURE,
        friction=FRICTION / units.fs,
        fixcm=False,
        rng=rng,
    )
    dynamics.run(round(equilibration / STEP))
    frame = Atoms(atoms.numbers, calculator=TBLite(method=METHOD, accuracy=0.01, verbosity=0))
    R, E, F, T = [], [], [], []
    for _ in range(frames):
        dynamics.run(round(spacing / STEP))
        R.append(atoms.positions.astype(np.float32))
        frame.positions = R[-1]
        E.append(frame.get_potential_energy())
        F.append(frame.get_forces().astype(np.float32))
        T.append(atoms.get_temperature())
    print(f"{name:24s} {len(atoms):3d} atoms {np.mean(T):7.1f} K {np.mean(E):12.4f} eV", flush=True)
    return atoms.numbers.astype(np.uint8), np.array(R), np.array(E), np.array(F)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("schnetgeo/datasets/demo"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    about = dict(e_unit="eV", f_unit="eV/Angstrom", r_unit="Angstrom", theory=METHOD)

    spacing = 25.0
    rng = np.random.default_rng([args.seed, 0])
    z, R, E, F = sample("CH3CH2OH", 5000.0, 1200, spacing, rng)
    np.savez_compressed(
        args.out / "ethanol.npz", z=z, R=R, E=E, F=F, name="ethanol", time_step_fs=spacing, **about
    )

    parts = {}
    for i, name in enumerate(closed_shell_species(), start=1):
        try:
            parts[name] = sample(name, 1000.0, 20, 40.0, np.random.default_rng([args.seed, i]))
        except CalculationFailed as error:
            print(f"{name} left out: {error}")
    counts = [len(E) for _, _, E, _ in parts.values()]
    np.savez_compressed(
        args.out / "molecules.npz",
        N=np.concatenate([np.full(len(E), len(z), np.int16) for z, _, E, _ in parts.values()]),
        Z=np.concatenate([np.tile(z, len(E)) for z, _, E, _ in parts.values()]),
        R=np.concatenate([R.reshape(-1, 3) for _, R, _, _ in parts.values()]),
        E=np.concatenate([E for _, _, E, _ in parts.values()]),
        F=np.concatenate([F.reshape(-1, 3) for _, _, _, F in parts.values()]),
        mol=np.repeat(np.arange(len(parts)), counts).astype(np.int16),
        names=np.array(list(parts)),
        name="molecules",
        **about,
    )


if __name__ == "__main__":
    main()
