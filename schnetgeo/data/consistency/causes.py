"""Units that would explain a factor."""

import math
from collections.abc import Iterator

from schnetgeo.units import conversion

_TOLERANCE = 0.12  # of a factor that is known from a few pairs of frames
_ENERGIES = ("eV", "kcal/mol", "kJ/mol", "Hartree", "Rydberg")
_LENGTHS = ("Å", "Bohr")
_FORCES = ("eV/Å", "kcal/mol/Å", "kJ/mol/Å", "Hartree/Bohr", "Hartree/Å", "eV/Bohr")
_STRESSES = ("eV/Å^3", "GPa", "kbar", "bar", "Hartree/Bohr^3")


def energy_causes(factor: float) -> Iterator[str]:
    """What makes energies change `factor` times as much as the work of the forces says."""
    if math.isclose(factor, -1.0, rel_tol=_TOLERANCE):
        yield "the sign of the forces is that of the gradient (--forces-key=-NAME)"
    yield from _misread("energies", "--energy-unit", factor, _ENERGIES)
    yield from _misread("forces", "--force-unit", 1 / factor if factor else 0.0, _FORCES)
    yield from _misread("positions", "--length-unit", 1 / factor if factor else 0.0, _LENGTHS)


def size_causes(kind: str, option: str, factor: float, tolerance: float) -> list[str]:
    """What makes values `factor` times as large as they are."""
    units = {"energies": _ENERGIES, "forces": _FORCES, "positions": _LENGTHS}[kind]
    return list(_misread(kind, option, factor, units, tolerance))


def stress_causes(factor: float, volume: float) -> Iterator[str]:
    """What makes stresses `factor` times as large as the change of the energy says."""
    if math.isclose(factor, -1.0, rel_tol=_TOLERANCE):
        yield "the stress has the other sign (--stress-key=-NAME)"
    for sign, option in ((-1, "--virial-key=NAME"), (1, "--virial-key=-NAME")):
        if math.isclose(factor, sign * volume, rel_tol=_TOLERANCE):
            yield f"it is a virial, not divided by the volume ({option})"
    for sign, also in ((1, ""), (-1, ", and of the other sign")):
        for text in _misread("stresses", "--stress-unit", sign * factor, _STRESSES):
            yield text + also


def _misread(
    what: str, option: str, factor: float, units: tuple[str, ...], tolerance: float = _TOLERANCE
) -> Iterator[str]:
    """Pairs of units whose confusion makes values `factor` times as large as they are."""
    for right in units:
        for wrong in units:
            if right != wrong and math.isclose(factor, conversion(wrong, right), rel_tol=tolerance):
                yield f"{what} in {right} are read as {wrong} ({option})"
