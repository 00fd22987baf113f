"""From atoms to graphs: structures, validation, neighbors."""

from schnetgeo.data.atoms import from_ase, to_ase
from schnetgeo.data.edges import reverse_edges
from schnetgeo.data.graph import with_edges
from schnetgeo.data.neighbors.search import neighbor_list
from schnetgeo.data.split import Split
from schnetgeo.data.split_methods import block_split, group_split, k_fold, random_split
from schnetgeo.data.structure import Structure
from schnetgeo.data.validate import validate

__all__ = [
    "Split",
    "Structure",
    "block_split",
    "from_ase",
    "group_split",
    "k_fold",
    "neighbor_list",
    "random_split",
    "reverse_edges",
    "to_ase",
    "validate",
    "with_edges",
]
