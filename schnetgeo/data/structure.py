"""The graph of one molecule or crystal."""

import torch
from torch_geometric.data import Data

PER_ATOM = (
    "z", "pos", "forces", "charges", "tags", "momenta", "masses", "initial_charges",
    "initial_magmoms",
)  # fmt: skip
PER_EDGE = ("edge_index", "edge_shift", "edge_reverse")
GRAPH = (*PER_EDGE, "edge_cutoff")
MAX_Z = 119  # atomic numbers are below
MASKS = {"energy": "energy_mask", "forces": "forces_mask", "stress": "stress_mask"}


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
    | `energy_mask`, … | (1,) | bool; where some structures lack a label: whether this one has it |
    | `edge_index` | (2, E) | int64; row 0 the source j, row 1 the target i |
    | `edge_shift` | (E, 3) | int64, lattice vectors |
    | `edge_reverse` | (E,) | int64, position of the edge i → j of each edge j → i |
    | `edge_cutoff` | (1,) | float64, Å; the cutoff that the edges were built for |

    Further scalars of a structure have shape (1,). The attributes in `PER_ATOM` have a row for
    each atom, those in `PER_EDGE` an entry for each edge, all others one for the structure.
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
