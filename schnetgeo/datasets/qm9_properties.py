"""Properties of QM9: units, meanings, values of free atoms."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.structure import MAX_Z
from schnetgeo.errors import InputError
from schnetgeo.units import HARTREE


class Property(NamedTuple):
    """One of the columns; energies are Hartree in the files and eV here."""

    unit: str
    file_unit: str
    meaning: str


def _energy(meaning: str) -> Property:
    return Property("eV", "Hartree", meaning)


PROPERTIES = {
    "A": Property("GHz", "GHz", "rotational constant"),
    "B": Property("GHz", "GHz", "rotational constant"),
    "C": Property("GHz", "GHz", "rotational constant"),
    "mu": Property("Debye", "Debye", "dipole moment"),
    "alpha": Property("Bohr^3", "Bohr^3", "isotropic polarizability"),
    "homo": _energy("energy of the highest occupied orbital"),
    "lumo": _energy("energy of the lowest unoccupied orbital"),
    "gap": _energy("lumo - homo"),
    "r2": Property("Bohr^2", "Bohr^2", "electronic spatial extent"),
    "zpve": _energy("zero point vibrational energy"),
    "U0": _energy("internal energy at 0 K"),
    "U": _energy("internal energy at 298.15 K"),
    "H": _energy("enthalpy at 298.15 K"),
    "G": _energy("free energy at 298.15 K"),
    "Cv": Property("cal/mol/K", "cal/mol/K", "heat capacity at 298.15 K"),
}
DERIVED = {
    f"{name}_atom": _energy(f"{name} less that of the free atoms") for name in ("U0", "U", "H", "G")
}
TARGETS = PROPERTIES | DERIVED
# atomref.txt: single atoms of H, C, N, O, F; Hartree, of Cv cal/mol/K
_ELEMENTS = (1, 6, 7, 8, 9)
ATOMS = {
    "zpve": (0.0, 0.0, 0.0, 0.0, 0.0),
    "U0": (-0.500273, -37.846772, -54.583861, -75.064579, -99.718730),
    "U": (-0.498857, -37.845355, -54.582445, -75.063163, -99.717314),
    "H": (-0.497912, -37.844411, -54.581501, -75.062219, -99.716370),
    "G": (-0.510927, -37.861317, -54.598897, -75.079532, -99.733544),
    "Cv": (2.981, 2.981, 2.981, 2.981, 2.981),
}


def atom_references(name: str) -> Float[Tensor, "Z"]:
    """A property of single atoms by atomic number, in its unit in `PROPERTIES`; others are nan.

    Raises:
        InputError: for a property that single atoms have not.
    """
    if name not in ATOMS:
        raise InputError(f"no atomic references for {name!r}; there are for {', '.join(ATOMS)}")
    references = torch.full((MAX_Z,), torch.nan, dtype=torch.float64)
    references[list(_ELEMENTS)] = torch.tensor(ATOMS[name], dtype=torch.float64)
    return references * (HARTREE if is_energy(name) else 1.0)


def is_energy(name: str) -> bool:
    return PROPERTIES[name].file_unit == "Hartree"


def properties_in_ev(part: StructureDataset, unit: float) -> StructureDataset:
    """The same molecules with energies in eV, `unit` eV in the file, and with derived ones."""
    structures, sizes = part.materialize()
    owner = torch.arange(sizes.numel()).repeat_interleave(sizes)
    for name in PROPERTIES.keys() & set(structures.keys()):
        factor = unit if is_energy(name) else 1.0
        structures[name] = structures[name].double() * factor
        if f"{name}_atom" in DERIVED:
            atoms = atom_references(name)[structures.z]
            free = atoms.new_zeros(sizes.numel()).index_add(0, owner, atoms)
            structures[f"{name}_atom"] = structures[name] - free
    return StructureDataset(structures, sizes, part.name)
