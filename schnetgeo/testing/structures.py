"""The structures that models are checked on."""

import copy

import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.geometry import complete_cell
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.data import Structure, from_ase, validate
from schnetgeo.data.structure import GRAPH, PER_ATOM
from schnetgeo.errors import InputError


def examples(max_z: int, seed: int) -> list[Structure]:
    """Distorted molecules, an atom, and a crystal whose cell is smaller than most cutoffs."""
    crystal = bulk("Si") if max_z > 14 else bulk("C")
    atoms = [*map(molecule, ("H2O", "CH3CONH2", "H2")), Atoms("H"), crystal]
    for k, item in enumerate(atoms):
        item.rattle(0.1, seed=seed + k)
    return [from_ase(item) for item in atoms if item.numbers.max() < max_z]


def plain(data: Structure, where: str) -> Structure:
    """The structure in float64, without labels and edges, in a cell that has a volume."""
    if not isinstance(data, Data) or data.get("batch") is not None:
        raise InputError(f"{where} must be one Structure, got {type(data).__name__}; pass a list")
    validate(data, where)
    left_out = ("energy", "stress", *PER_ATOM[2:], *GRAPH)
    bare = Structure(cell=torch.zeros(1, 3, 3), pbc=torch.zeros(1, 3, dtype=torch.bool))
    bare.update({key: value for key, value in data.to_dict().items() if key not in left_out})
    bare = bare.cpu()
    cell = torch.from_numpy(complete_cell(bare.cell[0].numpy())).double().unsqueeze(0)
    return bare.update({"pos": bare.pos.detach().double(), "cell": cell})


def changed(data: Data, **fields: Tensor) -> Data:
    """A shallow copy with other fields."""
    return copy.copy(data).update(fields)


def shuffled(data: Data, reverse: bool) -> Data:
    """The same edges in another order, with `edge_reverse` or without."""
    order = torch.randperm(data.num_edges)
    edges = {"edge_index": data.edge_index[:, order], "edge_shift": data.edge_shift[order]}
    edges["edge_reverse"] = order.argsort()[data.edge_reverse[order]] if reverse else None
    return changed(data, **edges)
