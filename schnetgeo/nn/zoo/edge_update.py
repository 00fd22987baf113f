"""SchNet whose edges learn: filters of features that atoms at both ends have changed."""

import torch
from jaxtyping import Int
from torch import Tensor, nn

from schnetgeo.nn.conv import EdgeFeatures
from schnetgeo.nn.mlp import mlp
from schnetgeo.nn.readout import AtomicValues
from schnetgeo.nn.schnet import SchNet
from schnetgeo.nn.state_embedding import States


class EdgeUpdateSchNet(SchNet):
    """e⁰ = e(r_ij);  e^{l+1} = e^l + network_l([x^l_i, x^l_j, e^l]);  filters W_l(e^{l+1}).

    The filter is no longer a function of the distance alone, so autograd runs the model instead of
    the engine.

    Args:
        channels: F, features per atom and per filter.
        num_layers: number of interactions.
        num_basis: K, Gaussians from 0 to `cutoff`, and features per edge.
        cutoff: r_c in Å; atoms farther apart do not interact.
        **options: further arguments of `SchNet`.

    Source: Jørgensen, Jacobsen, Schmidt, 2018, arXiv:1806.03146.
    """

    def __init__(
        self,
        channels: int = 128,
        num_layers: int = 3,
        num_basis: int = 50,
        cutoff: float = 5.0,
        **options,
    ):
        super().__init__(channels, num_layers, num_basis, cutoff, **options)
        number, activation = self.basis.num_basis, options.get("activation", nn.SiLU)
        self.updates = nn.ModuleList(
            mlp(2 * channels + number, channels, number, activation) for _ in range(num_layers)
        )

    def atomic_values(
        self, z: Int[Tensor, "N"], edges: EdgeFeatures, states: States | None = None
    ) -> AtomicValues:
        x = self.embed(z, states)
        source, target = edges.edge_index
        for update, interaction in zip(self.updates, self.interactions, strict=True):
            ends = torch.cat([x[target], x[source], edges.edge_attr], dim=-1)
            edges = edges._replace(edge_attr=edges.edge_attr + update(ends))
            x = x + interaction(x, edges)
        return self.readout(x)
