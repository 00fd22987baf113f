"""Programs of molecular dynamics: energy and forces of a structure, and the time of their steps."""

import contextlib
import importlib
from pathlib import Path

import numpy as np
from ase import Atoms, units

from benchmarks.programs import ipi_input
from benchmarks.programs.runs import Files, Run, seconds_per_step
from schnetgeo import simulate
from schnetgeo.units import conversion

BOX = 100.0  # Å, for molecules


def lammps(atoms: Atoms, files: Files, steps: int) -> Run:
    """LAMMPS, NVE by itself."""
    from ase.calculators.lammps import Prism

    from schnetgeo.simulate import lammps as adapter

    prism = Prism(atoms.cell.array if atoms.pbc.any() else np.eye(3) * BOX, pbc=atoms.pbc)
    elements = sorted(set(atoms.symbols))
    lmp = adapter.start()
    lmp.commands_string(
        "units metal\natom_style atomic\n"
        f"boundary {' '.join('p' if periodic else 's' for periodic in atoms.pbc)}\n"
        "box tilt large\n"
        "region box prism 0 {} 0 {} 0 {} {} {} {}\n".format(*prism.get_lammps_prism())
        + f"create_box {len(elements)} box\n"
        + "".join(
            f"mass {k + 1} {Atoms(symbol).get_masses()[0]}\n" for k, symbol in enumerate(elements)
        )
        + "pair_style zero 2.0\npair_coeff * *\nthermo_style custom step pe etotal temp\n"
        "timestep 0.0005\nfix nve all nve\n"
    )
    types = [elements.index(symbol) + 1 for symbol in atoms.symbols]
    positions = atoms.positions + (0 if atoms.pbc.any() else BOX / 2)
    x = prism.vector_to_lammps(positions, wrap=False)
    lmp.create_atoms(len(atoms), np.arange(1, len(atoms) + 1), types, x.ravel())
    adapter.attach(lmp, files.fast, elements)
    lmp.command("run 0")
    energy, order = lmp.get_thermo("pe"), np.argsort(lmp.numpy.extract_atom("id")[: len(atoms)])
    forces = prism.vector_to_ase(lmp.numpy.extract_atom("f")[: len(atoms)][order])
    seconds = seconds_per_step(lambda count: lmp.command(f"run {count}"), steps)
    lmp.close()
    return Run(energy, forces, seconds)


def openmm(atoms: Atoms, files: Files, steps: int) -> Run:
    """OpenMM with a PythonForce, NVE by itself."""
    import openmm as mm

    from schnetgeo.simulate import openmm as adapter

    return _in_openmm(atoms, _system(atoms, mm, adapter.force(files.fast, _topology(atoms))), steps)


def openmm_ml(atoms: Atoms, files: Files, steps: int) -> Run:
    """OpenMM through openmm-ml, which takes ASE's calculator."""
    from openmmml import MLPotential

    calculator = simulate.Calculator(files.fast)
    system = MLPotential("ase").createSystem(_topology(atoms), calculator=calculator)
    return _in_openmm(atoms, system, steps, units.mol / units.kJ)  # as ASE and openmm-ml have it


def _topology(atoms: Atoms):
    from openmm import app, unit

    topology = app.Topology()
    residue = topology.addResidue("X", topology.addChain())
    for z in atoms.numbers:
        topology.addAtom("X", app.Element.getByAtomicNumber(int(z)), residue)
    if atoms.pbc.any():
        topology.setPeriodicBoxVectors(atoms.cell.array / 10 * unit.nanometer)
    return topology


def _system(atoms: Atoms, mm, force):
    system = mm.System()
    for mass in atoms.get_masses():
        system.addParticle(mass)
    if atoms.pbc.any():
        system.setDefaultPeriodicBoxVectors(*(atoms.cell.array / 10))
    system.addForce(force)
    return system


def _in_openmm(atoms: Atoms, system, steps: int, unit: float | None = None) -> Run:
    import openmm as mm

    integrator = mm.VerletIntegrator(0.0005)
    context = mm.Context(system, integrator, mm.Platform.getPlatformByName("Reference"))
    context.setPositions(atoms.positions / 10)
    state = context.getState(energy=True, forces=True)
    unit = unit or conversion("eV", "kJ/mol")
    forces = np.array(state.getForces(asNumpy=True)._value) / unit / 10
    energy = state.getPotentialEnergy()._value / unit
    return Run(energy, forces, seconds_per_step(integrator.step, steps))


def ipi_metatomic(atoms: Atoms, files: Files, steps: int) -> Run:
    """i-PI with its driver for metatomic."""
    return _in_ipi(atoms, files, steps, files.metatomic, "metatomic")


def ipi(atoms: Atoms, files: Files, steps: int) -> Run:
    """i-PI with our driver."""
    driver = importlib.import_module("schnetgeo.simulate.ipi_driver").__file__
    return _in_ipi(atoms, files, steps, files.model, "custom", driver)


def ipi_beads(atoms: Atoms, files: Files, steps: int) -> Run:
    """i-PI with our driver, 32 beads in one batch; time of one bead."""
    driver = importlib.import_module("schnetgeo.simulate.ipi_driver").__file__
    run = _in_ipi(atoms, files, max(steps // 10, 5), files.model, "custom", driver, 32)
    return run._replace(seconds=run.seconds / 32)


def _in_ipi(
    atoms: Atoms, files: Files, steps: int, model: Path, pes: str, driver: str = "", beads: int = 1
) -> Run:
    from ipi.engine.simulation import Simulation
    from ipi.utils.units import unit_to_internal, unit_to_user

    start = ipi_input.write_start(atoms, files.folder)
    more = f"tolerance: {files.tolerance}" if driver else "device: cpu"
    field = ipi_input.direct(start, model, pes, driver, beads, more)
    with contextlib.chdir(files.folder):  # where i-PI writes
        run = Simulation.load_from_xml(ipi_input.simulation(field, start, steps, beads))
        system = run.syslist[0]
        positions = unit_to_internal("length", "angstrom", atoms.positions).ravel()
        system.beads.q[:] = positions  # those of the file have eight digits
        if atoms.pbc.any():  # that of the file is 1e-8 off, by another value of the Bohr
            system.cell.h = unit_to_internal("length", "angstrom", atoms.cell.array.T)
        energy = unit_to_user("energy", "electronvolt", float(system.forces.pots[0]))
        forces = unit_to_user("force", "ev/ang", np.array(system.forces.f[0]))

        def block(count: int) -> None:
            run.tsteps = run.step + count
            run.run(write_outputs=False)

        return Run(energy, forces.reshape(-1, 3), seconds_per_step(block, steps))
