"""What a file states, what the user gives, what a layout means, and what nobody says."""

import pytest
import torch

from schnetgeo.data.file_units import FileUnits, check_effect
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.stated_units import ASE, Convention, Units, stated_in
from schnetgeo.data.structure import Structure
from schnetgeo.errors import InputError
from schnetgeo.notes import DataNote
from schnetgeo.units import BOHR, HARTREE, KCAL_MOL

LAYOUT = Convention(
    "an example", Units("kcal/mol", "kcal/mol/Angstrom", "kcal/mol/Angstrom^3", "Angstrom")
)
KINDS = Units._fields


def water(energy=-2080.0, force=0.3, scale=1.0):
    """Four water molecules, all-electron energies."""
    pos = torch.tensor([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], dtype=torch.float64) * scale
    return StructureDataset(
        Structure(
            z=torch.tensor([8, 1, 1] * 4),
            pos=pos.repeat(4, 1),
            energy=torch.full((4,), energy, dtype=torch.float64),
            forces=torch.full((12, 3), force, dtype=torch.float64),
        ),
        torch.full((4,), 3),
        "water",
    )


@pytest.mark.parametrize(
    ("kind", "unit", "value"),
    [
        ("energy", "Hartree", HARTREE),
        ("force", "Hartree/Bohr", HARTREE / BOHR),
        ("stress", "GPa", 1 / 160.2176634),
        ("length", "Bohr", BOHR),
    ],
)
@pytest.mark.parametrize("convention", [ASE, LAYOUT])
def test_stated_and_given_units_come_before_a_convention(kind, unit, value, convention):
    named = Units(**{kind: unit})
    assert FileUnits("f", named, convention=convention).factor(kind) == pytest.approx(value)
    assert FileUnits("f", user_units=named, convention=convention).factor(kind) == pytest.approx(
        value
    )
    assert FileUnits("f", named, named, convention).factor(kind) == pytest.approx(value)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_says(kind):
    with pytest.raises(InputError, match=rf"f: does not state .*; give {kind}_unit \(--{kind}-u"):
        FileUnits("f").factor(kind)


def test_given_against_stated():
    with pytest.raises(InputError, match="f: states 'kcal/mol' as unit of its energies, but ener"):
        FileUnits("f", Units("kcal/mol"), Units("eV"))
    FileUnits("f", Units("kcal/mol"), Units("kcal mol^-1"))


@pytest.mark.parametrize(
    ("known", "lost"),
    [
        (Units(energy="eV"), "force"),
        (Units(energy="eV"), "stress"),
        (Units(force="eV/Angstrom"), "energy"),
        (Units(force="Hartree/Bohr"), "length"),
        (Units(length="Bohr"), "force"),
    ],
)
def test_a_convention_does_not_hold_in_part(known, lost):
    with pytest.raises(InputError, match="does not state the unit"):
        FileUnits("f", known, convention=LAYOUT).factor(lost)
    usual = Units(**{kind: getattr(LAYOUT.units, kind) for kind in KINDS if getattr(known, kind)})
    assert FileUnits("f", usual, convention=LAYOUT).factor(lost) > 0


def test_lengths_of_ase_are_in_angstrom_whatever_the_labels():
    units = FileUnits("f", user_units=Units("Hartree", "Hartree/Bohr"), convention=ASE)
    assert units.factor("length") == 1.0


def test_what_follows_from_others():
    units = FileUnits("f", Units("kcal/mol", length="Bohr"))
    assert units.factor("force") == pytest.approx(KCAL_MOL / BOHR)
    assert units.factor("stress") == pytest.approx(KCAL_MOL / BOHR**3)
    assert FileUnits("f", user_units=Units("eV", "eV/Å")).factor("length") == 1.0
    with pytest.raises(InputError, match="positions; give length_unit"):
        FileUnits("f", user_units=Units("Hartree", "Hartree/Bohr")).factor("length")


def test_assumptions_are_said():
    with pytest.warns(DataNote, match="f: its energies are taken in kcal/mol, .* example is publ"):
        FileUnits("f", convention=LAYOUT).review(water())
    with pytest.warns(DataNote, match=r"forces are taken in eV/Ang, as follows from its e_unit"):
        FileUnits("f", Units("eV", length="Ang")).review(water())


@pytest.mark.filterwarnings("error")
def test_nothing_to_say():
    FileUnits("f", convention=ASE).review(water())
    FileUnits("f", Units("eV", "eV/Å", length="Å")).review(water())


@pytest.mark.parametrize(
    ("data", "kind"),
    [(water(scale=1 / BOHR), "length"), (water(force=40.0), "force"), (water(-48000.0), "energy")],
)
def test_doubts(data, kind):
    with pytest.raises(InputError, match=rf"f: .* are taken in .* give {kind}_unit"):
        FileUnits("f", convention=LAYOUT).review(data)
    stated = Units("eV", "eV/Å", length="Å")
    with pytest.warns(DataNote, match=rf"f: .*; check {kind}_unit"):
        FileUnits("f", stated).review(data)


def test_forces_that_follow_from_stated_units_are_only_questioned():
    with pytest.warns(DataNote, match="half of the forces are above .*; check force_unit"):
        FileUnits("f", Units("eV", length="Å")).review(water(force=40.0))


def test_units_of_what_is_not_there():
    units = FileUnits("f", user_units=Units("eV", "eV/Å"), convention=ASE)
    units.factor("length")
    units.factor("force")
    with pytest.raises(InputError, match="f: energy_unit is given, but there are no energies; nam"):
        check_effect("f", units.user_units, units.used)
    units.factor("energy")
    check_effect("f", units.user_units, units.used)


def test_names_that_state_units():
    texts = {"e_unit": "eV", "Forces_unit": "eV/A", "distance_unit": "Bohr", "theory": "PBE"}
    assert stated_in("f", texts) == Units("eV", "eV/A", None, "Bohr")
    with pytest.raises(InputError, match="f: states two units of its energies, 'eV' and 'meV'"):
        stated_in("f", {"e_unit": "eV", "energy_unit": "meV"})
