"""Structures and comparisons that tests of imports share."""

import torch
from ase.build import molecule
from torch import nn
from torch_geometric.data import Batch

from schnetgeo.data import from_ase, with_edges
from schnetgeo.potential import Potential

MOLECULES = ("CH3CH2OH", "C6H6", "H2O")


class AllPairs(nn.Module):
    """Edges within a cutoff by plain torch, as an `interaction_graph` of PyG's SchNet."""

    def __init__(self, cutoff: float):
        super().__init__()
        self.cutoff = cutoff

    def forward(self, pos, batch):
        near = (torch.cdist(pos, pos) < self.cutoff) & (batch[:, None] == batch)
        source, target = (near & ~torch.eye(len(pos), dtype=torch.bool)).nonzero().T
        return torch.stack([source, target]), (pos[source] - pos[target]).norm(dim=-1)


def rattled(dtype: torch.dtype, cutoff: float | None = None) -> Batch:
    """Three molecules, with positions in a type that both sides can take as they are."""
    data = []
    for seed, name in enumerate(MOLECULES):
        atoms = molecule(name)
        atoms.rattle(0.05, seed=seed)
        data.append(from_ase(atoms))
    batch = Batch.from_data_list(data)
    batch.pos = batch.pos.to(dtype)
    return batch if cutoff is None else with_edges(batch, cutoff)


def assert_equal(potential: Potential, energy, forces, data) -> None:
    """A potential gives these, to rounding of its type."""
    potential.filters = "exact"
    prediction = potential(data)
    tolerance = 1e-10 if potential.scale.dtype == torch.float64 else 1e-6
    energy, forces = energy.detach().double().flatten(), forces.detach().double()
    assert forces.abs().max() > 1e-4
    error = (prediction.energy - energy).abs() / energy.abs().clamp(min=1)
    assert error.max() < tolerance
    assert (prediction.forces - forces).abs().max() < tolerance * max(
        1.0, float(forces.abs().max())
    )
