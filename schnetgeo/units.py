"""Units: eV and Å inside, everything else by name at the border (CODATA 2018)."""

from schnetgeo.errors import InputError

HARTREE = 27.211386245988  # eV
KCAL_MOL = 0.0433641042418  # eV
BOHR = 0.529177210903  # Å

ENERGY = {
    "eV": 1.0,
    "meV": 1e-3,
    "Hartree": HARTREE,
    "kcal/mol": KCAL_MOL,
    "kJ/mol": KCAL_MOL / 4.184,
}
LENGTH = {"Angstrom": 1.0, "Bohr": BOHR, "nm": 10.0}
_ALIASES = {
    "Ha": "Hartree",
    "hartree": "Hartree",
    "Å": "Angstrom",
    "A": "Angstrom",
    "Ang": "Angstrom",
    "a0": "Bohr",
}


def energy(unit: str) -> float:
    """Value of one `unit` of energy in eV; `InputError` lists the known units."""
    return _lookup(unit, ENERGY, "energy")


def length(unit: str) -> float:
    """Value of one `unit` of length in Å; `InputError` lists the known units."""
    return _lookup(unit, LENGTH, "length")


def force(unit: str) -> float:
    """Value of one `unit` of force, written energy/length as in "kcal/mol/Angstrom", in eV/Å."""
    numerator, slash, denominator = unit.rpartition("/")
    if not slash:
        raise InputError(
            f"force unit {unit!r} is not energy/length, such as eV/Angstrom or kcal/mol/Angstrom"
        )
    return energy(numerator) / length(denominator)


def _lookup(unit: str, table: dict[str, float], kind: str) -> float:
    name = _ALIASES.get(unit, unit)
    if name not in table:
        raise InputError(f"unknown {kind} unit {unit!r}; known: {', '.join(table)}")
    return table[name]
