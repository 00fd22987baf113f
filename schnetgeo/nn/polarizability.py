"""The polarizability tensor from scalar and vector features."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.geometry import batch_index, num_structures
from schnetgeo.nn.gated import GatedNetwork
from schnetgeo.nn.molecule import centered
from schnetgeo.nn.readout import Readout, sum_atoms


class PolarizabilityReadout(Readout):
    """α = Σ_i (a_i 1 + ν_i ⊗ (r_i − c) + (r_i − c) ⊗ ν_i), a symmetric tensor.

    a_i and ν_i are the scalar and the vector of a `GatedNetwork`, c the mean of the positions. α
    turns with the molecule as a tensor and does not depend on the origin.

    Args:
        channels: F, scalar features per atom, and vectors.
        hidden_channels: width of the hidden layer.
        activation: class of the activations.
        zero_init: start from α = 0.

    Source: Schütt, Unke, Gastegger, ICML 2021, arXiv:2102.03150, with r_i in place of r_i − c.
    """

    shape, extensive, periodic = (3, 3), True, False
    needs_vectors = True

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        activation: Callable[[], nn.Module],
        zero_init: bool = False,
    ):
        super().__init__()
        self.net = GatedNetwork(channels, hidden_channels, activation, zero_init)

    def forward(
        self, x: Float[Tensor, "N F"], v: Float[Tensor, "N 3 F"]
    ) -> tuple[Float[Tensor, "N"], Float[Tensor, "N 3"]]:
        return self.net(x, v)

    def reduce(self, values: tuple[Tensor, Tensor], data: Data) -> Float[Tensor, "B 3 3"]:
        isotropic, vector = values
        relative, _ = centered(data, vector.dtype)
        outer = vector.unsqueeze(2) * relative.unsqueeze(1)
        identity = torch.eye(3, dtype=vector.dtype, device=vector.device)
        atomic = isotropic[:, None, None] * identity + outer + outer.mT
        return sum_atoms(atomic, batch_index(data), num_structures(data))
