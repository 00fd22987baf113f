"""Models that hold molecules and crystals together, without training."""

import torch
from torch import nn

import schnetgeo as sg
from schnetgeo.geometry import batch_index, distances, edge_vectors, num_structures
from tests.nn.weights import randomize


def potential(seed=0, scale=1.0, **options):
    """A random SchNet in float64."""
    options = {"channels": 8, "num_layers": 2, "num_basis": 12, "cutoff": 4.0, **options}
    torch.manual_seed(seed)
    return sg.Potential(randomize(sg.SchNet(**options)).double(), scale=scale).eval()


class Springs(nn.Module):
    """E = ½ Σ_pairs w (1 − e^{−a (r − r0)})² f(r), with r0 from sizes of the elements."""

    def __init__(self, depth=4.0, stiffness=1.6, cutoff=4.5):
        super().__init__()
        self.cutoff, self.max_z = cutoff, 20
        self.depth = nn.Parameter(torch.tensor(depth, dtype=torch.float64))
        self.stiffness = stiffness
        sizes = torch.full((20,), 0.75, dtype=torch.float64)
        sizes[1], sizes[14] = 0.35, 1.17
        self.register_buffer("sizes", sizes)

    def forward(self, data):
        r = distances(edge_vectors(data))
        source, target = data.edge_index
        length = self.sizes[data.z[source]] + self.sizes[data.z[target]]
        morse = (1 - torch.exp(-self.stiffness * (r - length))).square() - 1
        smooth = 0.5 * (torch.cos(torch.pi * r / self.cutoff) + 1)
        energy = self.depth / 2 * morse * smooth
        batch = batch_index(data)
        return r.new_zeros(num_structures(data)).index_add(0, batch[target], energy)


def springs(**options):
    """A potential with bonds."""
    return sg.Potential(Springs(**options)).double().eval()
