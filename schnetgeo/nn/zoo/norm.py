"""SchNet's interaction on normalized features."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from schnetgeo.nn.conv import EdgeFeatures, RadialConv
from schnetgeo.nn.interaction import Interaction


class NormInteraction(Interaction):
    """v_i = Interaction(x̂)_i with x̂_i = g ⊙ x_i / √(mean_c x_ic² + ε).

    For `SchNet(interaction=NormInteraction)`. Each atom is normalized by its own features, so that
    energies stay a sum over atoms; the mean over a batch would mix structures.

    Args:
        channels: F, features per atom.
        conv: message-passing layer.
        activation: class of the activation.
        in_bias: give the dense layer before the convolution a bias.

    Source: Zhang, Sennrich, NeurIPS 2019, arXiv:1910.07467.
    """

    def __init__(
        self,
        channels: int,
        conv: RadialConv,
        activation: Callable[[], nn.Module],
        in_bias: bool = False,
    ):
        super().__init__(channels, conv, activation, in_bias)
        self.norm = nn.RMSNorm(channels)

    def forward(self, x: Float[Tensor, "N F"], edges: EdgeFeatures) -> Float[Tensor, "N F"]:
        return super().forward(self.norm(x), edges)
