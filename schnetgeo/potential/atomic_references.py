"""The part of the energy that the composition explains."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.geometry import batch_index, num_structures
from schnetgeo.nn.readout import sum_atoms


class AtomicReferences(nn.Module):
    """Σ_i e0[z_i] in float64: the part of the energy that the composition explains.

    It is the mean over i instead for a model whose readout is one.

    The table stays float64 under `.float()`, `.half()` and `.to(dtype)`, and on the CPU where a
    device has no float64.

    Args:
        energies: e0 in eV, a row per atomic number.
    """

    energies: Tensor

    def __init__(self, energies: Float[Tensor, "Z"]):
        super().__init__()
        self.register_buffer("energies", energies.double())

    def forward(self, data: Data, mean: bool = False) -> Float[Tensor, "B"]:
        device, number = self.energies.device, num_structures(data)
        per_atom, batch = self.energies.index_select(0, data.z.to(device)), batch_index(data)
        total = sum_atoms(per_atom, batch.to(device), number)
        return total / batch.to(device).bincount(minlength=number) if mean else total

    def _apply(self, fn, recurse=True):
        device = fn(torch.empty(0)).device
        self.energies = self.energies.to("cpu" if device.type == "mps" else device)
        return self
