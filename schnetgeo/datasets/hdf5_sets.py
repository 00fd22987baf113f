"""Published HDF5 data sets, known by the name of their energy."""

from collections.abc import Container
from typing import NamedTuple

from schnetgeo.data.labels import Keys
from schnetgeo.data.stated_units import Convention, Units


class PublishedSet(NamedTuple):
    """What a data set calls its labels; a minus before a name takes the negative."""

    energy: str
    forces: str | None
    convention: Convention


ANI1X_LABELS = PublishedSet(
    "wb97x_dz.energy", "wb97x_dz.forces",
    Convention("ANI-1x", Units("Hartree", "Hartree/Angstrom", None, "Angstrom")),
)  # fmt: skip
SPICE_LABELS = PublishedSet(
    "dft_total_energy", "-dft_total_gradient",
    Convention("SPICE", Units("Hartree", "Hartree/Bohr", None, "Bohr")),
)  # fmt: skip
_SETS = (
    ANI1X_LABELS,
    SPICE_LABELS,
    PublishedSet(
        "wB97x_6-31G(d).energy", "wB97x_6-31G(d).forces",
        Convention("Transition1x", Units("eV", "eV/Angstrom", None, "Angstrom")),
    ),
    PublishedSet(
        "ePBE0+MBD", "totFOR",
        Convention("QM7-X", Units("eV", "eV/Angstrom", None, "Angstrom")),
    ),
    PublishedSet(
        "energiesHE", None, Convention("ANI-1", Units("Hartree", None, None, "Angstrom")),
    ),
)  # fmt: skip


def published_set(names: Container[str]) -> PublishedSet | None:
    """The set that has these names in its groups."""
    return next((one for one in _SETS if one.energy in names), None)


def complete_keys(keys: Keys, known: PublishedSet, names: Container[str]) -> Keys:
    """The keys, with those of the set where the user gives none."""
    if known.energy == "energiesHE":  # beside the usual names
        return keys
    forces = known.forces if (known.forces or "").removeprefix("-") in names else None
    return keys._replace(energy=keys.energy or known.energy, forces=keys.forces or forces)
