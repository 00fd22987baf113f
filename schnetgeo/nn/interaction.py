"""One layer of SchNet."""

from jaxtyping import Float
from torch import Tensor, nn

from schnetgeo.nn.conv import RadialConv
from schnetgeo.nn.mlp import dense


class Interaction(nn.Module):
    """v_i = lin3(act(lin2(conv(lin1(x))_i))): what one layer adds to the features of an atom."""

    def __init__(self, channels: int, conv: RadialConv, activation: type[nn.Module], in_bias: bool):
        super().__init__()
        self.lin1 = dense(channels, channels, bias=in_bias)
        self.conv = conv
        self.lin2 = dense(channels, channels)
        self.activation = activation()
        self.lin3 = dense(channels, channels)

    def forward(self, x: Float[Tensor, "N F"], *edges) -> Float[Tensor, "N F"]:
        """Arguments besides x are those of the convolution."""
        messages = self.conv(self.lin1(x), *edges)
        return self.lin3(self.activation(self.lin2(messages)))
