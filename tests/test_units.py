"""Units: values of CODATA 2018, names, and what is said of names nobody knows."""

import pytest

from schnetgeo import units
from schnetgeo.errors import InputError
from schnetgeo.targets import TARGETS

AVOGADRO, ELEMENTARY_CHARGE = 6.02214076e23, 1.602176634e-19  # exact since 2019


def test_kcal_and_kj_follow_from_the_si():
    assert units.energy("kcal/mol") == pytest.approx(4184 / AVOGADRO / ELEMENTARY_CHARGE, rel=1e-12)
    assert units.energy("kJ/mol") == pytest.approx(1000 / AVOGADRO / ELEMENTARY_CHARGE, rel=1e-12)


def test_hartree_and_bohr_give_the_coulomb_constant():
    # e²/4πε₀ = α ħ c with α = 1/137.035999084 and ħc = 1973.269804 eV Å
    coulomb = units.HARTREE * units.BOHR
    assert coulomb == pytest.approx(1973.269804 / 137.035999084, rel=1e-9)


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("eV", 1),
        ("EV", 1),
        ("meV", 1e-3),
        ("Hartree", 27.211386245988),
        ("Ha", units.HARTREE),
        ("a.u.", units.HARTREE),
        ("Ry", units.HARTREE / 2),
        ("27.5 eV", 27.5),
        ("1e-3 eV", 1e-3),
        ("kcal/mole", units.KCAL_MOL),
        ("kcal mol^-1", units.KCAL_MOL),
        ("kcal·mol⁻¹", units.KCAL_MOL),
    ],
)
def test_energy(unit, value):
    assert units.energy(unit) == value


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("Angstrom", 1),
        ("Å", 1),
        ("A", 1),
        ("nm", 10),
        ("Bohr", 0.529177210903),
        ("a0", units.BOHR),
        ("A\u030a", 1),
        ("\u212b", 1),
        ("ang", 1),
        ("pm", 0.01),
        ("au", units.BOHR),
    ],
)
def test_length(unit, value):
    assert units.length(unit) == value


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("eV/Angstrom", 1),
        ("kcal/mol/Å", units.KCAL_MOL),
        ("Hartree/Bohr", units.HARTREE / units.BOHR),
        ("kJ/mol/nm", units.KCAL_MOL / 4.184 / 10),
        ("hartree bohr^-1", units.HARTREE / units.BOHR),
        ("au", units.HARTREE / units.BOHR),
        ("Ry/au", units.HARTREE / 2 / units.BOHR),
        ("kcal/(mol Angstrom)", units.KCAL_MOL),
    ],
)
def test_force(unit, value):
    assert units.force(unit) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("GPa", 1e9 / ELEMENTARY_CHARGE * 1e-30),
        ("kbar", 1e8 / ELEMENTARY_CHARGE * 1e-30),
        ("eV/Å³", 1),
        ("eV/Ang/Ang/Ang", 1),
        ("Hartree/Bohr^3", units.HARTREE / units.BOHR**3),
    ],
)
def test_stress(unit, value):
    assert units.stress(unit) == pytest.approx(value, rel=1e-9)


def test_length_in_force():
    assert units.length_in_force("kcal/mol/Å") == units.length_in_force("eV A^-1") == 1
    assert units.length_in_force("Hartree/Bohr") == units.BOHR
    assert units.length_in_force("au") is None


@pytest.mark.parametrize(
    ("function", "unit", "message"),
    [
        (units.energy, "erg", "unknown energy unit 'erg'; known: eV, meV, Hartree, .*kcal/mol"),
        (units.energy, "MeV", "unknown energy unit 'MeV'"),
        (units.energy, "0.0 eV", "unknown energy unit"),
        (units.energy, "1e999 eV", "unknown energy unit"),
        (units.energy, "kcal", "unknown energy unit 'kcal'"),
        (units.energy, "eV^99999", "unknown energy unit"),
        (units.length, "eV", "unknown length unit 'eV'; known: Angstrom, Bohr, nm"),
        (units.force, "eV", "unknown force unit 'eV'; known: energy/length, such as eV/Angstrom"),
        (units.force, "eV/s", "unknown force unit 'eV/s'"),
        (units.force, "N/Bohr", "unknown force unit 'N/Bohr'.* Hartree, .* Bohr"),
        (units.stress, "eV/Angstrom", "unknown stress unit 'eV/Angstrom'; known: GPa, MPa"),
    ],
)
def test_unknown_units_are_named(function, unit, message):
    with pytest.raises(InputError, match=message):
        function(unit)


@pytest.mark.parametrize(
    ("unit", "target", "value"),
    [
        ("Debye", "e·Å", 1e-21 / 299792458 / ELEMENTARY_CHARGE * 1e10),
        ("D", "Debye", 1),
        ("e*Bohr", "e·Å", units.BOHR),
        ("ea0", "Debye", 2.541746473),
        ("a.u.", "e·Å", units.BOHR),
        ("au", "e", 1),
        ("Å^3", "Bohr³", units.BOHR**-3),
        ("Angstrom**2", "Bohr^2", units.BOHR**-2),
        ("cal mol^-1 K^-1", "cal/(mol K)", 1),
        ("J/(mol K)", "cal/mol/K", 1 / 4.184),
        ("Hartree/Bohr", "eV/Å", units.HARTREE / units.BOHR),
        ("ppm", "ppm", 1),  # equal names need no meaning
        ("1", "1", 1),
    ],
)
def test_conversion(unit, target, value):
    assert units.conversion(unit, target) == pytest.approx(value, rel=1e-9)


def test_conversion_there_and_back():
    pair = units.conversion("Debye", "e*Bohr"), units.conversion("e*Bohr", "Debye")
    assert pair[0] * pair[1] == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize(
    ("unit", "target", "message"),
    [
        ("Debye", "eV", "'Debye' cannot be converted to 'eV': the dimensions differ"),
        ("statvolt", "eV", "unknown unit 'statvolt'; known: eV, .*Debye.*Bohr.3"),
        ("ppm", "1", "unknown unit 'ppm'"),
        ("eV", "ppm", "unknown unit 'ppm', to which 'eV' cannot be converted"),
    ],
)
def test_conversion_of_what_does_not_fit(unit, target, message):
    with pytest.raises(InputError, match=message):
        units.conversion(unit, target)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_units_of_targets_are_known(target):
    assert units.conversion("1.0 " + target.unit, target.unit) == pytest.approx(1, rel=1e-15)
