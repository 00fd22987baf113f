"""Message passing on radius graphs: RadialConv to build on, CFConv as SchNet's choice."""

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from schnetgeo.nn.mlp import ShiftedSoftplus, dense


class RadialConv(MessagePassing):
    """Base of message-passing layers: y_i = Σ_{j→i} f(r_ij) · message(x_j, x_i, e(r_ij)).

    A subclass writes `__init__(channels, num_basis)` and `message`; the envelope f and the sum
    over neighbors are done here, so that a layer cannot forget them. `message` may take `x_i`,
    `x_j`, both (E, F), and `edge_attr` (E, K), and returns (E, F).

        class Gate(RadialConv):
            def __init__(self, channels, num_basis):
                super().__init__(channels, num_basis)
                self.filter = nn.Linear(num_basis, channels)

            def message(self, x_j, edge_attr):
                return x_j * self.filter(edge_attr)

    `schnetgeo.testing.check_conv(Gate)` tells whether the layer is physical.

    Args:
        channels: F, features per atom, in and out.
        num_basis: K, radial basis functions per edge.
    """

    def __init__(self, channels: int, num_basis: int):
        super().__init__(aggr="add")
        self.channels = channels
        self.num_basis = num_basis

    def forward(
        self,
        x: Float[Tensor, "N F"],
        edge_index: Int[Tensor, "2 E"],
        edge_weight: Float[Tensor, "E"],
        edge_attr: Float[Tensor, "E K"],
    ) -> Float[Tensor, "N F"]:
        """Sum the messages at each target atom.

        Args:
            x: features.
            edge_index: row 0 the source j, row 1 the target i.
            edge_weight: envelope f(r).
            edge_attr: basis functions e(r).
        """
        return self.propagate(edge_index, x=x, edge_weight=edge_weight, edge_attr=edge_attr)

    def aggregate(
        self, inputs: Tensor, index: Tensor, edge_weight: Tensor, dim_size: int
    ) -> Tensor:
        weighted = inputs * edge_weight.unsqueeze(-1)
        return inputs.new_zeros(dim_size, inputs.size(-1)).index_add(0, index, weighted)


class CFConv(RadialConv):
    """Continuous-filter convolution: y_i = Σ_{j→i} x_j ⊙ W(r_ij), W = f · filter network(e).

    Args:
        channels: F, features per atom.
        num_basis: K, radial basis functions per edge.
        activation: class of the filter network's activation.
        last_activation: activate the second layer too, as the papers do.

    Source: Schütt et al., NeurIPS 2017, arXiv:1706.08566.
    """

    def __init__(
        self,
        channels: int,
        num_basis: int,
        activation: type[nn.Module] = ShiftedSoftplus,
        last_activation: bool = False,
    ):
        super().__init__(channels, num_basis)
        layers = [dense(num_basis, channels), activation(), dense(channels, channels)]
        if last_activation:
            layers.append(activation())
        self.filter = nn.Sequential(*layers)

    def message(self, x_j: Tensor, edge_attr: Tensor) -> Tensor:
        return x_j * self.filter(edge_attr)
