"""Message-passing layers of PyTorch Geometric as layers of a SchNet."""

from jaxtyping import Float
from torch import Tensor
from torch_geometric.nn import MessagePassing

from schnetgeo.nn.conv import EdgeFeatures, RadialConv


class PyGConv(RadialConv):
    """y_i = layer(x)_i, its messages times f(r_ij), with e(r_ij) as edge features.

        class GINE(PyGConv):
            def __init__(self, channels, num_basis):
                network = nn.Linear(channels, channels)
                super().__init__(channels, num_basis, GINEConv(network, edge_dim=num_basis))

    A layer that normalizes over neighbors, by a softmax, degree or mean, jumps where an atom comes
    into the cutoff, whatever its messages are multiplied with; `check_conv` says so. Self-loops
    must be switched off. Autograd runs the model instead of the engine.

    Args:
        channels: F, features per atom.
        num_basis: K, radial basis functions per edge.
        layer: called as layer(x, edge_index, edge_attr) with (N, F), (2, E), (E, K); gives (N, F).
    """

    def __init__(self, channels: int, num_basis: int, layer: MessagePassing):
        super().__init__(channels, num_basis)
        self.layer = layer

    def forward(self, x: Float[Tensor, "N F"], edges: EdgeFeatures) -> Float[Tensor, "N F"]:
        def weighted(layer: MessagePassing, inputs: tuple, messages: Tensor) -> Tensor:
            return messages * edges.edge_weight.view(-1, *[1] * (messages.dim() - 1))

        hook = self.layer.register_message_forward_hook(weighted)
        try:
            return self.layer(x, edges.edge_index, edges.edge_attr)
        finally:
            hook.remove()
