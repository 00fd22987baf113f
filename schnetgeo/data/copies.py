"""Structures that are in a data set twice."""

from collections import Counter, defaultdict

import torch

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.split import Split

_SAME_ENERGY = 1e-3  # eV, of two calculations with the same settings


def geometry_hashes(dataset: StructureDataset) -> list[int]:
    """A number for each structure: equal for the same elements at the same places in one cell."""
    numbers = []
    for block in dataset.iter_chunks():
        # adding 0 makes −0 the same bytes as 0
        atoms = torch.cat(
            [block.get_property("z").unsqueeze(1), block.get_property("pos").double() + 0.0], 1
        )
        cells = [
            block.get_property(name).double().flatten(1) + 0.0
            for name in ("cell", "pbc")
            if block.has_property(name)
        ]
        cells = torch.cat(cells, dim=1).cpu().numpy() if cells else [b""] * len(block)
        parts = atoms.cpu().split(block.num_atoms.tolist())
        numbers += [
            hash(part.numpy().tobytes() + bytes(cell))
            for part, cell in zip(parts, cells, strict=True)
        ]
    return numbers


def exact_copies(dataset: StructureDataset) -> int:
    """Structures whose atoms are at the same places as those of an earlier one."""
    return sum(number - 1 for number in Counter(geometry_hashes(dataset)).values())


def differing_copies(dataset: StructureDataset) -> list[list[int]]:
    """Structures at the same places with the same charge and spin, but with other energies.

    Returns:
        Indices of the structures of each such geometry.
    """
    if not dataset.has_label("energy"):
        return []
    known = dataset.mask("energy")
    places = torch.arange(len(dataset))[known].tolist()
    part = dataset[places]
    states = [part.get_property(name) for name in ("charge", "spin") if part.has_property(name)]
    states = [state for state in states if torch.is_tensor(state)]
    keys = zip(geometry_hashes(part), *(state.tolist() for state in states), strict=True)
    groups = defaultdict(list)
    for k, key in enumerate(keys):
        groups[key].append(k)
    energy = part.get_property("energy").tolist()
    return [
        [places[k] for k in group]
        for group in groups.values()
        if max(energy[k] for k in group) - min(energy[k] for k in group) > _SAME_ENERGY
    ]


def copies_across(dataset: StructureDataset, split: Split) -> str | None:
    """What must be said where structures that are tested are copies of trained ones."""
    marks = geometry_hashes(dataset)
    trained = {marks[k] for k in split.train.tolist()}
    counts = {
        what: sum(marks[k] in trained for k in part.tolist())
        for what, part in (("tested", split.test), ("validated", split.val))
    }
    parts = [f"{number:,} {what}" for what, number in counts.items() if number]
    if not parts:
        return None
    return (
        f"{dataset.name}: {' and '.join(parts)} structures are copies of trained ones, so their "
        "errors are not those of new structures; remove the copies, or keep groups apart with "
        "--split group:NAME"
    )
