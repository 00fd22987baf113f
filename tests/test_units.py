"""Units: values of CODATA 2018, names, and what is said of names nobody knows."""

import pytest

from schnetgeo import units
from schnetgeo.errors import InputError

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
    [("eV", 1), ("meV", 1e-3), ("Hartree", 27.211386245988), ("Ha", units.HARTREE)],
)
def test_energy(unit, value):
    assert units.energy(unit) == value


@pytest.mark.parametrize(
    ("unit", "value"),
    [("Angstrom", 1), ("Å", 1), ("A", 1), ("nm", 10), ("Bohr", 0.529177210903), ("a0", units.BOHR)],
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
    ],
)
def test_force(unit, value):
    assert units.force(unit) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("function", "unit", "message"),
    [
        (units.energy, "ev", "unknown energy unit 'ev'; known: eV, meV, Hartree, kcal/mol, kJ/mol"),
        (units.length, "eV", "unknown length unit 'eV'; known: Angstrom, Bohr, nm"),
        (units.force, "eV", "force unit 'eV' is not energy/length"),
        (units.force, "eV/s", "unknown length unit 's'"),
        (units.force, "N/Bohr", "unknown energy unit 'N'"),
    ],
)
def test_unknown_units_are_named(function, unit, message):
    with pytest.raises(InputError, match=message):
        function(unit)
