"""Gated equivariant blocks: from scalar and vector features to fewer of both."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from schnetgeo.nn.mlp import dense, mlp, zero_


class GatedBlock(nn.Module):
    """[s, g] = net([x, |U v|]); gives s and the vectors g ⊙ V v.

    Scalars and the lengths of vectors do not change under rotation, g ⊙ V v turns with it.

    Args:
        channels: number of scalars x, and of vectors v.
        out_channels: number of scalars s, and of vectors.
        hidden_channels: width of the hidden layer of net.
        activation: class of its activation.

    Source: Schütt, Unke, Gastegger, ICML 2021, arXiv:2102.03150, figure 3.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        hidden_channels: int,
        activation: Callable[[], nn.Module],
    ):
        super().__init__()
        self.mix = dense(channels, 2 * out_channels, bias=False)  # U and V
        self.net = mlp(channels + out_channels, hidden_channels, 2 * out_channels, activation)

    def forward(
        self, x: Float[Tensor, "N F"], v: Float[Tensor, "N 3 F"]
    ) -> tuple[Float[Tensor, "N G"], Float[Tensor, "N 3 G"]]:
        Uv, Vv = self.mix(v).chunk(2, dim=-1)
        length = (Uv.square().sum(1) + 1e-12).sqrt()
        s, gate = self.net(torch.cat([x, length], dim=-1)).chunk(2, dim=-1)
        return s, gate.unsqueeze(1) * Vv


class GatedNetwork(nn.Module):
    """Two gated blocks with an activation of the scalars between them: a scalar and a vector.

    Args:
        channels: F, scalar features, and vectors.
        hidden_channels: scalars, and vectors, between the blocks.
        activation: class of the activations.
        zero_init: start from a scalar and a vector of 0.
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        activation: Callable[[], nn.Module],
        zero_init: bool = False,
    ):
        super().__init__()
        self.block1 = GatedBlock(channels, hidden_channels, channels, activation)
        self.activation = activation()
        self.block2 = GatedBlock(hidden_channels, 1, hidden_channels, activation)
        if zero_init:
            zero_(self.block2.net[-1])

    def forward(
        self, x: Float[Tensor, "N F"], v: Float[Tensor, "N 3 F"]
    ) -> tuple[Float[Tensor, "N"], Float[Tensor, "N 3"]]:
        s, v = self.block1(x, v)
        s, v = self.block2(self.activation(s), v)
        return s.squeeze(-1), v.squeeze(-1)
