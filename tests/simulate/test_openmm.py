"""Potentials in OpenMM, alone and through openmm-ml."""

import sys

import numpy as np
import pytest
from ase.build import bulk

import schnetgeo as sg
from schnetgeo.simulate import openmm as adapter
from schnetgeo.units import conversion
from tests.engine.potentials import potential_of, rattled
from tests.export.test_flat_potential import covered

mm = pytest.importorskip("openmm", reason="pip install 'openmm>=8.4'")
app = pytest.importorskip("openmm.app")
KJ_MOL = conversion("eV", "kJ/mol")


def topology_of(atoms):
    topology = app.Topology()
    residue = topology.addResidue("X", topology.addChain())
    for z in atoms.numbers:
        topology.addAtom("X", app.Element.getByAtomicNumber(int(z)), residue)
    if atoms.pbc.all():
        topology.setPeriodicBoxVectors(atoms.cell.array / 10 * mm.unit.nanometer)
    return topology


def state_of(system, atoms, steps: int = 0):
    """Energy in eV, forces in eV/Å, and total energy after some steps."""
    platform = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(system, mm.VerletIntegrator(0.0005), platform)
    context.setPositions(atoms.positions / 10)
    state = context.getState(energy=True, forces=True)
    energy, forces = state.getPotentialEnergy()._value, np.array(state.getForces()._value)
    context.getIntegrator().step(steps)
    last = context.getState(energy=True)
    total = last.getPotentialEnergy()._value + last.getKineticEnergy()._value
    return energy / KJ_MOL, forces / KJ_MOL / 10, total / KJ_MOL


def system_of(atoms):
    system = mm.System()
    for mass in atoms.get_masses():
        system.addParticle(mass)
    if atoms.pbc.all():
        system.setDefaultPeriodicBoxVectors(*(atoms.cell.array / 10))
    return system


@pytest.mark.parametrize("atoms", ["CH3CH2OH", "crystal"])
def test_equals_the_calculator(atoms):
    """And so does a system that was written and read again."""
    atoms = rattled(bulk("Al", cubic=True) * 2 if atoms == "crystal" else atoms)
    potential = potential_of().eval()
    system = system_of(atoms)
    system.addForce(adapter.force(potential.tabulate(1e-8), topology_of(atoms)))
    again = mm.XmlSerializer.deserialize(mm.XmlSerializer.serialize(system))
    atoms.calc = sg.Calculator(potential.tabulate(1e-8))
    for each in (system, again):
        energy, forces, total = state_of(each, atoms, 50)
        assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        assert abs(forces - atoms.get_forces()).max() < 1e-9
        assert total == pytest.approx(energy, abs=1e-4)  # starts at rest
    assert system.usesPeriodicBoundaryConditions() == bool(atoms.pbc.all())


def test_openmm_ml_takes_the_calculator():
    potentials = pytest.importorskip("openmmml", reason="pip install openmmml")
    atoms, calculator = rattled("CH3CH2OH"), sg.Calculator(potential_of().eval().tabulate(1e-8))
    system = potentials.MLPotential("ase").createSystem(topology_of(atoms), calculator=calculator)
    energy, forces, _ = state_of(system, atoms)
    atoms.calc = calculator
    assert energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)  # its own unit of eV
    assert abs(forces - atoms.get_forces()).max() < 1e-6


def test_what_cannot_run_is_refused(monkeypatch):
    topology = topology_of(rattled("H2O"))
    with pytest.raises(sg.InputError, match=r"O \(z = 8\)"):
        adapter.force(covered(potential_of().eval(), 1), topology)
    topology.addAtom("M", None, next(topology.residues()))
    with pytest.raises(sg.InputError, match="particle 3 has no element"):
        adapter.force(potential_of().eval(), topology)
    monkeypatch.setitem(sys.modules, "openmm", None)
    with pytest.raises(sg.InputError, match="pip install 'openmm>=8.4'"):
        adapter.force(potential_of().eval(), topology)
