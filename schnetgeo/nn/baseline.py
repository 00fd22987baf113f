"""The fully connected model that a graph network has to beat."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.geometry import batch_index, num_structures
from schnetgeo.nn.configurable import Configurable
from schnetgeo.nn.readout import sum_atoms


class Baseline(Configurable):
    """E = Σ_i w · [embedding[z_i], MLP(r_i)]: every atom alone, at its absolute position.

    A negative control: no atom sees another, and the energy changes when the molecule is moved or
    turned, so a low error of this model says that the data are aligned, not that it learned.
    With the default of 100 rows it has 1,160 parameters.

    Args:
        max_z: rows of the embedding; atomic numbers must lie below.
    """

    cutoff = None

    def __init__(self, max_z: int = 100):
        super().__init__()
        self.max_z = max_z
        self.embedding = nn.Embedding(max_z, 8)
        self.position = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 16))
        self.output = nn.Linear(24, 1, bias=False)

    def forward(self, data: Data) -> Float[Tensor, "B"]:
        pos = data.pos.to(self.embedding.weight.dtype)
        features = torch.cat([self.embedding(data.z), self.position(pos)], dim=-1)
        per_atom = self.output(features).squeeze(-1)
        return sum_atoms(per_atom, batch_index(data), num_structures(data))
