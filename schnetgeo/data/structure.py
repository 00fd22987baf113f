"""The graph of one molecule or crystal."""

from collections.abc import Iterable

import torch
from torch_geometric.data import Data

from schnetgeo.targets import TARGETS

PER_ATOM = (
    "z", "pos", "forces", "charges", "tags", "momenta", "masses", "initial_charges",
    "initial_magmoms",
)  # fmt: skip
LABELS = ("energy", "forces", "stress")  # beside which there may be others
PER_EDGE = ("edge_index", "edge_shift", "edge_reverse")
GRAPH = (*PER_EDGE, "edge_cutoff")
MAX_Z = 119  # atomic numbers are below
_TARGETS = frozenset(target.name for target in TARGETS)


def mask_name(label: str) -> str:
    """Name of the attribute that says which structures have a label, such as energy_mask."""
    return f"{label}_mask"


def labels_in(names: Iterable[str]) -> list[str]:
    """Labels among these attributes: those called as a known target, and those with a mask."""
    names = list(names)
    return [name for name in names if name in _TARGETS or mask_name(name) in names]


def is_per_atom(name: str, value: object, atoms: int, structures: int) -> bool:
    """Whether an attribute of packed structures has a row for each atom, by name or by its rows.

    Where each structure has one atom, both kinds of rows are the same.
    """
    if name in PER_ATOM:
        return True
    return torch.is_tensor(value) and value.shape[:1] == (atoms,) and atoms != structures


class Structure(Data):
    """A PyG `Data` whose `edge_reverse` batches by the number of edges, scalars as they are.

    | attribute | shape | type, unit |
    |---|---|---|
    | `z` | (N,) | int64, atomic numbers |
    | `pos` | (N, 3) | Å |
    | `cell`, `pbc` | (1, 3, 3), (1, 3) | Å (rows are lattice vectors), bool |
    | `energy` | (1,) | float64, eV |
    | `forces`, `stress` | (N, 3), (1, 3, 3) | eV/Å, eV/Å³ |
    | `charges` | (N,) | partial charges, e |
    | `charge`, `spin` | (1,) | total charge, e; spin, as models with a `state_embedding` read it |
    | `energy_mask`, … | (1,) | bool; where some structures lack a label: whether this one has it |
    | `edge_index` | (2, E) | int64; row 0 the source j, row 1 the target i |
    | `edge_shift` | (E, 3) | int64, lattice vectors |
    | `edge_reverse` | (E,) | int64, position of the edge i → j of each edge j → i |
    | `edge_cutoff` | (1,) | float64, Å; the cutoff that the edges were built for |

    Further labels have shape (1, …) with a value of the structure, or (N, …) with one of each
    atom, and further scalars shape (1,). The attributes in `PER_ATOM` have a row for each atom,
    those in `PER_EDGE` an entry for each edge.
    """

    def __inc__(self, key, value, *args, **kwargs):
        if key == "edge_reverse":
            return value.size(0)
        if torch.is_tensor(value) and value.shape == (1,):
            return 0  # a scalar called "config_index" or "batch_id" is none of PyG's indices
        return super().__inc__(key, value, *args, **kwargs)

    def keys(self) -> list[str]:
        """Names of the attributes in the order in which they were set; PyG's differs by process."""
        return list(self._store.keys())
