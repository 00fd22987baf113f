"""The energy of a potential as a function of the vectors of its edges."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.data.graph import with_edges
from schnetgeo.errors import InputError
from schnetgeo.nn.model import AtomisticModel
from schnetgeo.nn.readout import SumReadout
from schnetgeo.nn.state_embedding import States
from schnetgeo.potential import Potential


def exact(potential: Potential) -> Potential:
    """A copy in float64 that computes filters on every edge, of a model that can be explained.

    Raises:
        InputError: unless the first target is a sum or mean over atoms of an `AtomisticModel`.
    """
    model = potential.model
    if not isinstance(model, AtomisticModel) or model.cutoff is None:
        raise InputError(
            f"explain: {type(model).__name__} is no AtomisticModel with edges; take one"
        )
    if not isinstance(model.readout, SumReadout):
        raise InputError(
            f"explain: {type(model.readout).__name__} is no sum or mean over atoms; take a model "
            "that is, such as one of the energy"
        )
    double = copy.deepcopy(potential).double().eval()
    double.filters = "exact"
    return double.requires_grad_(False)


def prepared(potential: Potential, data: Data) -> Data:
    """A structure in float64 with its edges."""
    data = copy.copy(data)
    data.pos = data.pos.detach().double()
    return with_edges(data, potential.model.cutoff)


def atoms_of(
    potential: Potential, data: Data, vectors: Float[Tensor, "E 3"]
) -> tuple[Float[Tensor, "N"], Float[Tensor, "B"]]:
    """Learned values of atoms, and their sums or means, in eV without references.

    Args:
        potential: from `exact`.
        data: structure or batch with `edge_index`.
        vectors: of the edges, Å; may require a gradient.
    """
    model = potential.model
    inputs = data.z, model.features_of(data.edge_index, vectors)
    if model.state_embedding is not None:
        inputs = *inputs, States.of(data, inputs[1].edge_weight)
    values = potential.scale * model.atomic_values(*inputs)
    return values, model.readout.reduce(values, data)


def references_of(potential: Potential, data: Data) -> Float[Tensor, "N"]:
    """Atomic reference of each atom, eV."""
    references = potential.atomic_references
    return torch.zeros(len(data.z)).double() if references is None else references.values[data.z]
