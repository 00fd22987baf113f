"""Units that would explain a factor."""

import math
from collections.abc import Iterator

from schnetgeo.units import conversion

_TOLERANCE = 0.1  # of a factor that is known from a few pairs of frames
_ENERGIES = (
    ("kcal/mol", "eV"), ("Hartree", "eV"), ("Hartree", "kcal/mol"), ("kJ/mol", "eV"),
    ("Rydberg", "eV"),
)  # fmt: skip
_FORCES = (
    ("kcal/mol/Å", "eV/Å"), ("Hartree/Bohr", "eV/Å"), ("eV/Bohr", "eV/Å"), ("Hartree/Å", "eV/Å"),
    ("Hartree/Bohr", "kcal/mol/Å"), ("kJ/mol/Å", "eV/Å"),
)  # fmt: skip
_LENGTHS = (("Bohr", "Å"),)
_STRESSES = (("GPa", "eV/Å^3"), ("kbar", "eV/Å^3"), ("bar", "eV/Å^3"), ("GPa", "kbar"))


def work_causes(factor: float) -> Iterator[str]:
    """What makes energies change `factor` times as much as the work of the forces says."""
    if math.isclose(factor, -1.0, rel_tol=_TOLERANCE):
        yield "the forces are the gradient, of the other sign (--forces-key=-NAME)"
    yield from energy_causes(factor)
    yield from _misread("forces", "--force-unit", 1 / factor if factor else 0.0, _FORCES)
    yield from _misread("positions", "--length-unit", 1 / factor if factor else 0.0, _LENGTHS)


def energy_causes(factor: float, tolerance: float = _TOLERANCE) -> Iterator[str]:
    """What makes energies `factor` times as large as they are."""
    return _misread("energies", "--energy-unit", factor, _ENERGIES, tolerance)


def stress_causes(factor: float, volume: float) -> Iterator[str]:
    """What makes stresses `factor` times as large as the change of the energy says.

    Args:
        factor: of the stresses.
        volume: of the cells, Å³.
    """
    if math.isclose(factor, -1.0, rel_tol=_TOLERANCE):
        yield "the stress has the other sign (--stress-key=-NAME)"
    for sign, option in ((-1, "--virial-key=NAME"), (1, "--virial-key=-NAME")):
        if math.isclose(factor, sign * volume, rel_tol=_TOLERANCE):
            yield f"it is a virial, not divided by the volume ({option})"
    for sign, also in ((1, ""), (-1, ", and of the other sign")):
        for text in _misread("stresses", "--stress-unit", sign * factor, _STRESSES):
            yield text + also
    if factor:
        yield from energy_causes(1 / factor)
    edge = abs(factor) ** (1 / 3)
    yield from _misread("positions", "--length-unit", edge, _LENGTHS, _TOLERANCE / 3)


def _misread(
    what: str,
    option: str,
    factor: float,
    pairs: tuple[tuple[str, str], ...],
    tolerance: float = _TOLERANCE,
) -> Iterator[str]:
    """Pairs of units whose confusion makes values `factor` times as large as they are."""
    for pair in pairs:
        for right, wrong in (pair, pair[::-1]):
            if math.isclose(factor, conversion(wrong, right), rel_tol=tolerance):
                yield f"{what} in {right} are read as {wrong} ({option})"
