"""Units by name: those that a file states, and those that its layout means."""

from collections.abc import Mapping
from typing import NamedTuple

from schnetgeo.errors import InputError


class Units(NamedTuple):
    """Names of units, such as "Hartree" or "kcal/mol/Angstrom"; `None` is unknown."""

    energy: str | None = None
    force: str | None = None
    stress: str | None = None
    length: str | None = None


class Convention(NamedTuple):
    """What the numbers of a layout mean where nothing is stated.

    Attributes:
        name: whose convention, such as "revised MD17".
        units: the units.
        of_format: the format defines them, as ASE's do; then there is nothing to say, and lengths
            are in this unit whatever the labels are in.
    """

    name: str
    units: Units
    of_format: bool = False


ASE = Convention("ASE", Units("eV", "eV/Angstrom", "eV/Angstrom^3", "Angstrom"), of_format=True)
NONE = Convention("no layout", Units())
QUANTITIES = {
    "energy": "energies", "force": "forces", "stress": "stresses",
    "length": "positions",
}  # fmt: skip
_NAMES = {  # of entries that state a unit, in small letters
    "energy": ("e_unit", "energy_unit", "energies_unit", "energy_units"),
    "force": ("f_unit", "force_unit", "forces_unit", "force_units"),
    "stress": ("stress_unit", "s_unit", "stress_units"),
    "length": ("r_unit", "length_unit", "distance_unit", "position_unit", "positions_unit",
               "pos_unit", "coordinates_unit", "length_units"),
}  # fmt: skip
UNIT_NAMES = frozenset(name for names in _NAMES.values() for name in names)


def stated_in(where: str, texts: Mapping[str, object]) -> Units:
    """Units that a file states among its texts, such as `e_unit` or `length_unit`.

    Raises:
        InputError: where two of them differ.
    """
    stated: dict[str, str] = {}
    for name, text in texts.items():
        kind = next((k for k, names in _NAMES.items() if name.lower() in names), None)
        if kind is None or not str(text).strip():
            continue
        if stated.setdefault(kind, str(text)) != str(text):
            raise InputError(
                f"{where}: states two units of its {QUANTITIES[kind]}, {stated[kind]!r} and "
                f"{str(text)!r} ({name}); correct the file"
            )
    return Units(**stated)
