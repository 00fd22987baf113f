"""The units in which people read errors."""

from typing import NamedTuple

from schnetgeo.targets import Target
from schnetgeo.units import GIGAPASCAL, KCAL_MOL, conversion


class ShownUnit(NamedTuple):
    """A unit as text, how many of it are one unit of the target, and its part of column names."""

    text: str
    factor: float
    suffix: str


_SHOWN = {
    "eV": (ShownUnit("kcal/mol", 1 / KCAL_MOL, "_kcal_mol"), ShownUnit("meV", 1000.0, "_meV")),
    "eV/Å": (
        ShownUnit("kcal/mol/Å", 1 / KCAL_MOL, "_kcal_mol_A"),
        ShownUnit("meV/Å", 1000.0, "_meV_A"),
    ),
    "eV/Å³": (
        ShownUnit("GPa", 1 / GIGAPASCAL, "_GPa"),
        ShownUnit("meV/Å³", 1000.0, "_meV_A3"),
    ),
    "e·Å": (
        ShownUnit("Debye", conversion("e·Å", "Debye"), "_Debye"),
        ShownUnit("e·Å", 1.0, "_e_A"),
    ),
}


def shown_units(target: Target) -> tuple[ShownUnit, ...]:
    """The units to show, that of results.json first: kcal/mol and meV, GPa, Debye, or its own."""
    return _SHOWN.get(target.unit, (ShownUnit(target.unit, 1.0, ""),))


def column(target: Target, statistic: str) -> str:
    """Name in results.json and logs of an error in the first unit, as force_mae_kcal_mol_A."""
    return f"{prefix(target)}_{statistic}{shown_units(target)[0].suffix}"


def prefix(target: Target) -> str:
    """What such names begin with."""
    return "force" if target.name == "forces" else target.name
