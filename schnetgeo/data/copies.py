"""Structures that are in a data set twice."""

from collections import Counter

import torch

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.split import Split


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
