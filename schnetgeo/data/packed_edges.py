"""Edges that are counted from the start of their own structure."""

import torch
from torch import Tensor

from schnetgeo.data.gather import ptr_from_sizes
from schnetgeo.data.graph import with_edges
from schnetgeo.data.structure import Structure
from schnetgeo.errors import InputError
from schnetgeo.geometry import batch_index, num_structures

_MOST_CELLS = 2**15 - 1  # that an edge can cross: shifts are packed as int16


def edges_per_structure(
    structures: Structure, sizes: Tensor, cutoff: float, name: str, first: int = 0
) -> dict[str, Tensor]:
    """Edges that count atoms and edges from the start of their own structure, and their number.

    Args:
        structures: in a row, without edges.
        sizes: atoms of each.
        cutoff: r_c in Å.
        name: what errors call the data set.
        first: what errors call the first structure.
    """
    structures.ptr = ptr_from_sizes(sizes)
    part = with_edges(structures, cutoff)
    structure = batch_index(part)[part.edge_index[1]]
    count = structure.bincount(minlength=num_structures(part))
    edges = {
        "count": count,
        "edge_index": (part.edge_index - part.ptr[structure]).int(),
        "edge_reverse": (part.edge_reverse - ptr_from_sizes(count)[structure]).int(),
    }
    shift = part.get("edge_shift")
    if shift is not None:
        far = (shift.abs() > _MOST_CELLS).any(1).nonzero()
        if len(far):
            raise InputError(
                f"{name}, structure {first + int(structure[far[0]])}: an edge crosses the "
                f"cell {shift[far[0]].flatten().tolist()} times, more than {_MOST_CELLS}; wrap the "
                "atoms into their cell"
            )
        edges["edge_shift"] = shift.to(torch.int16)
    return edges
