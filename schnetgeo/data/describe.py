"""What a data set holds: fields and compositions."""

from collections import Counter
from typing import NamedTuple

import torch
from ase.data import chemical_symbols

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.statistics import element_counts, formula
from schnetgeo.data.structure import GRAPH, MAX_Z

UNITS = {
    "pos": "Å",
    "cell": "Å",
    "energy": "eV",
    "free_energy": "eV",
    "forces": "eV/Å",
    "stress": "eV/Å³",
    "charges": "e",
    "initial_charges": "e",
    "masses": "u",
}
MEANINGS = {
    "z": "atomic numbers",
    "pos": "positions",
    "cell": "lattice vectors, in rows",
    "pbc": "periodic directions",
    "energy": "energy, the label",
    "forces": "forces on the atoms, the label",
    "stress": "stress, ∂E/∂strain per volume",
}


class Field(NamedTuple):
    """One attribute of the structures."""

    name: str
    per: str  # "atom" or "structure"
    shape: list[int]  # of one atom's or structure's
    type: str
    unit: str | None
    meaning: str | None


def fields(dataset: StructureDataset, units: dict[str, str] | None = None) -> list[Field]:
    """The attributes that structures carry; units that are not known here are left open."""
    units = UNITS | (units or {})
    result = []
    for key in sorted(dataset.packed.keys()):
        value = dataset.packed[key]
        if key == "ptr" or key in GRAPH:
            continue
        per = "atom" if dataset.is_per_atom(key) else "structure"
        tensor = torch.is_tensor(value)
        shape = list(value.shape[1:]) if tensor else []
        kind = str(value.dtype).removeprefix("torch.") if tensor else "text"
        result.append(Field(key, per, shape, kind, units.get(key), MEANINGS.get(key)))
    return sorted(result, key=lambda field: field.per != "atom")


def formulas(dataset: StructureDataset) -> Counter[str]:
    """How many structures have each composition, such as C2H6O, in the order of Hill."""
    counts = Counter()
    for block in dataset.iter_chunks():
        rows, count = element_counts(block, MAX_Z).unique(dim=0, return_counts=True)
        for row, number in zip(rows, count.tolist(), strict=True):
            counts[formula(dict(enumerate(row.tolist())))] += number
    return counts


def formulas_of(dataset: StructureDataset) -> list[str]:
    """The composition of each structure, in the order of Hill."""
    rows = element_counts(dataset, MAX_Z).tolist()
    return [formula(dict(enumerate(row))) for row in rows]


def elements(dataset: StructureDataset) -> dict[str, int]:
    """How many atoms of each element there are."""
    total = sum(element_counts(block, MAX_Z).sum(0) for block in dataset.iter_chunks())
    return {chemical_symbols[z]: int(total[z]) for z in total.nonzero().flatten().tolist()}
