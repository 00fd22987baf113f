"""What single atoms contribute."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Batch, Data

from schnetgeo.errors import InputError
from schnetgeo.explain.energy import atoms_of, exact, prepared, references_of
from schnetgeo.geometry import batch_index, edge_vectors, num_structures
from schnetgeo.potential import Potential


def atomic_energies(
    potential: Potential, data: Data, references: bool = True
) -> Float[Tensor, "N"]:
    """Energies of atoms, which add up to that of their structure (eV); of a mean, its terms.

    The sum is learned, its parts are what the model makes of it: they tell models apart, and atoms
    of one model from each other, but are not observable.

    Args:
        potential: model whose first target is a sum or mean over atoms.
        data: structure or batch.
        references: with the atomic references, which are the same for all atoms of an element.
    """
    potential, batch, number = exact(potential), batch_index(data), num_structures(data)
    data = prepared(potential, data)
    values, _ = atoms_of(potential, data, edge_vectors(data))
    terms = values + references_of(potential, data) if references else values
    return potential.model.readout.atom_weights(batch, number).to(terms) * terms


def occlusion(potential: Potential, data: Data) -> Float[Tensor, "N"]:
    """E − E(without atom i) − e0[z_i] for each atom i of a structure, in eV.

    e0 are the atomic references. The rest of the structure stays where it is.

    Args:
        potential: model of the energy, or another sum over atoms.
        data: one structure of two atoms or more.

    Raises:
        InputError: for several structures, and for a single atom.
    """
    if num_structures(data) != 1 or len(data.z) < 2:
        raise InputError("occlusion: data must be one structure of two atoms or more; take one")
    potential = exact(potential)
    if not potential.targets[0].extensive:
        raise InputError(f"occlusion: {potential.targets[0]} is no sum over atoms; take the energy")
    whole = prepared(potential, data)
    parts = Batch.from_data_list([_without(data, atom) for atom in range(len(data.z))])
    rest = prepared(potential, parts)
    _, energy = atoms_of(potential, whole, edge_vectors(whole))
    _, others = atoms_of(potential, rest, edge_vectors(rest))
    return energy - others


def _without(data: Data, atom: int) -> Data:
    keep = torch.arange(len(data.z)) != atom
    kept = {name: data[name] for name in ("cell", "pbc", "charge", "spin") if name in data}
    return type(data)(z=data.z[keep], pos=data.pos[keep], **kept)
