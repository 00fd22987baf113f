"""From atoms to graphs: structures, validation, neighbors."""

from schnetgeo.data.atoms import from_ase, to_ase
from schnetgeo.data.neighbors import neighbor_list, reverse_edges, with_edges
from schnetgeo.data.structure import Structure
from schnetgeo.data.validate import validate

__all__ = [
    "Structure",
    "from_ase",
    "neighbor_list",
    "reverse_edges",
    "to_ase",
    "validate",
    "with_edges",
]
