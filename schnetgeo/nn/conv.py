"""Message passing on radius graphs: RadialConv to build on, CFConv as SchNet's choice."""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from schnetgeo.errors import InputError
from schnetgeo.nn.mlp import ShiftedSoftplus, dense


class EdgeFeatures(NamedTuple):
    """What layers get to know of the edges."""

    edge_index: Int[Tensor, "2 E"]  # row 0 the source j, row 1 the target i
    edge_weight: Float[Tensor, "E"]  # cutoff function f(r)
    edge_attr: Float[Tensor, "E K"]  # basis functions e(r)
    edge_unit: Float[Tensor, "E 3"]  # unit vector u from the target to the source


class RadialConv(MessagePassing):
    """Base of message-passing layers: y_i = Σ_{j→i} f(r_ij) · message(x_j, x_i, W(r_ij), …).

    A subclass writes `__init__(channels, num_basis)` and `message`; the cutoff function f and the
    sum over neighbors are done here, so that a layer cannot forget them. `message` may take

    - `x_i`, `x_j` (E, F), features of target and source, and `v_i`, `v_j` (E, 3, F), their vector
      features, if the layer is called with those;
    - `edge_attr` (E, K), the basis functions, `edge_unit` (E, 3), the unit vector from target to
      source, and `edge_weight` (E,), the cutoff function;
    - `W`, what the layer's module `filter` makes of `edge_attr`, if it has one.

    It returns (E, F), (E, 3, F), or a tuple of such.

        class Gate(RadialConv):
            def __init__(self, channels, num_basis):
                super().__init__(channels, num_basis)
                self.filter = nn.Linear(num_basis, channels)

            def message(self, x_j, W):
                return x_j * W

    `schnetgeo.testing.check_conv(Gate)` tells whether the layer is physical.

    Args:
        channels: F, features per atom, in and out.
        num_basis: K, radial basis functions per edge.
    """

    def __init__(self, channels: int, num_basis: int):
        super().__init__(aggr="add", node_dim=0)
        self.channels = channels
        self.num_basis = num_basis

    def forward(
        self,
        x: Float[Tensor, "N C"],
        edges: EdgeFeatures,
        v: Float[Tensor, "N 3 F"] | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Sum the messages at each target atom.

        Args:
            x: features.
            edges: of the radius graph.
            v: vector features; `None` where there are none.
        """
        W = self.filter(edges.edge_attr) if hasattr(self, "filter") else None
        return self.propagate(
            edges.edge_index,
            x=x,
            v=v,
            W=W,
            edge_weight=edges.edge_weight,
            edge_attr=edges.edge_attr,
            edge_unit=edges.edge_unit,
        )

    # PyG reads the types of its methods, and knows no `|`
    def aggregate(self, inputs, index: Tensor, edge_weight: Tensor, dim_size: int):
        """Σ_{j→i} f(r_ij) message_ij, for each part of the message."""
        if isinstance(inputs, tuple):
            return tuple(self.aggregate(part, index, edge_weight, dim_size) for part in inputs)
        number, sizes = index.numel(), tuple(inputs.shape)
        if sizes not in ((number, self.channels), (number, 3, self.channels)):
            raise InputError(
                f"{type(self).__name__}.message must return shape (E, F) = ({number}, "
                f"{self.channels}), or (E, 3, F), got {sizes}; give the filter as many channels"
            )
        weighted = inputs * edge_weight.view(-1, *[1] * (inputs.dim() - 1))
        return weighted.new_zeros(dim_size, *sizes[1:]).index_add(0, index, weighted)

    def explain_message(self, inputs, dim_size: int):
        """Each part of the message times PyG's mask of the edges, in explain mode."""
        if isinstance(inputs, tuple):
            return tuple(self.explain_message(part, dim_size) for part in inputs)
        return super().explain_message(inputs, dim_size)


class CFConv(RadialConv):
    """Continuous-filter convolution: y_i = Σ_{j→i} x_j ⊙ f(r_ij) W(r_ij), W = filter network(e).

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
        activation: Callable[[], nn.Module] = ShiftedSoftplus,
        last_activation: bool = False,
    ):
        super().__init__(channels, num_basis)
        layers = [dense(num_basis, channels), activation(), dense(channels, channels)]
        if last_activation:
            layers.append(activation())
        self.filter = nn.Sequential(*layers)

    def message(self, x_j: Tensor, W: Tensor) -> Tensor:
        return x_j * W
