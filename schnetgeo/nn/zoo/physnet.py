"""PhysNet's interaction: linear filters, and dense layers with residuals around them."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from schnetgeo.nn.conv import EdgeFeatures, RadialConv
from schnetgeo.nn.mlp import dense


class PhysNetConv(RadialConv):
    """y_i = Σ_{j→i} x_j ⊙ f(r_ij) G e(r_ij), with a matrix G.

    Args:
        channels: F, features per atom.
        num_basis: K, radial basis functions per edge.

    Source: Unke, Meuwly, J. Chem. Theory Comput. 15, 3678 (2019), arXiv:1902.08408.
    """

    def __init__(self, channels: int, num_basis: int):
        super().__init__(channels, num_basis)
        self.filter = dense(num_basis, channels, bias=False)

    def message(self, x_j: Tensor, W: Tensor) -> Tensor:
        return x_j * W


class Residual(nn.Module):
    """x + B σ(A σ(x)): PhysNet's preactivated residual block."""

    def __init__(self, channels: int, activation: Callable[[], nn.Module]):
        super().__init__()
        self.layers = nn.Sequential(
            activation(), dense(channels, channels), activation(), dense(channels, channels)
        )

    def forward(self, x: Float[Tensor, "N F"]) -> Float[Tensor, "N F"]:
        return x + self.layers(x)


class PhysNetInteraction(nn.Module):
    """x_i' − x_i = s ⊙ x_i + C σ(Residual(v_i)), v_i = σ(A σ(x_i)) + conv(σ(B σ(x)))_i.

    For `SchNet(conv=PhysNetConv, interaction=PhysNetInteraction)`. SchNet adds x_i, so PhysNet's
    factor u = 1 + s begins at one.

    Args:
        channels: F, features per atom.
        conv: message-passing layer.
        activation: class of the activation.
        in_bias: give the dense layer before the convolution a bias, as PhysNet does.

    Source: Unke, Meuwly, J. Chem. Theory Comput. 15, 3678 (2019), arXiv:1902.08408.
    """

    def __init__(
        self,
        channels: int,
        conv: RadialConv,
        activation: Callable[[], nn.Module],
        in_bias: bool = False,
    ):
        super().__init__()
        self.activation = activation()
        self.of_atom = dense(channels, channels)
        self.of_neighbors = dense(channels, channels, bias=in_bias)
        self.conv = conv
        self.residual = Residual(channels, activation)
        self.out = dense(channels, channels)
        self.scale = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "N F"], edges: EdgeFeatures) -> Float[Tensor, "N F"]:
        act, active = self.activation, self.activation(x)
        v = act(self.of_atom(active)) + self.conv(act(self.of_neighbors(active)), edges)
        return self.scale * x + self.out(act(self.residual(v)))
