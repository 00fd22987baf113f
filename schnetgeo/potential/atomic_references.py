"""The part of a target that the composition explains."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.geometry import batch_index, num_structures
from schnetgeo.nn.readout import sum_atoms


class AtomicReferences(nn.Module):
    """Σ_i e0[z_i] in float64: the part of the energy that the composition explains.

    It is the mean over i instead for an intensive target. The table stays float64 under
    `.float()`, `.half()` and `.to(dtype)`, and on the CPU where a device has no float64.

    Args:
        values: e0 in the unit of the target, such as eV, a row per atomic number.
        mean: take the mean over the atoms.
    """

    values: Tensor

    def __init__(self, values: Float[Tensor, "Z"], mean: bool = False):
        super().__init__()
        self.mean = mean
        self.register_buffer("values", values.double())

    def forward(self, data: Data) -> Float[Tensor, "B"]:
        device, number = self.values.device, num_structures(data)
        per_atom, batch = self.values.index_select(0, data.z.to(device)), batch_index(data)
        total = sum_atoms(per_atom, batch.to(device), number)
        return total / batch.to(device).bincount(minlength=number) if self.mean else total

    def _apply(self, fn, recurse=True):
        device = fn(torch.empty(0)).device
        self.values = self.values.to("cpu" if device.type == "mps" else device)
        return self
