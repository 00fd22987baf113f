"""One layer of SchNet."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from schnetgeo.nn.conv import EdgeFeatures, RadialConv
from schnetgeo.nn.mlp import dense


class Interaction(nn.Module):
    """v_i = lin3(act(lin2(conv(lin1(x))_i))): what one layer adds to the features of an atom.

    Args:
        channels: F, features per atom.
        conv: message-passing layer.
        activation: class of the activation.
        in_bias: give the dense layer before the convolution a bias.
    """

    def __init__(
        self,
        channels: int,
        conv: RadialConv,
        activation: Callable[[], nn.Module],
        in_bias: bool = False,
    ):
        super().__init__()
        self.lin1 = dense(channels, channels, bias=in_bias)
        self.conv = conv
        self.lin2 = dense(channels, channels)
        self.activation = activation()
        self.lin3 = dense(channels, channels)

    def forward(self, x: Float[Tensor, "N F"], edges: EdgeFeatures) -> Float[Tensor, "N F"]:
        messages = self.conv(self.lin1(x), edges)
        return self.lin3(self.activation(self.lin2(messages)))
