"""Attention over neighbors in the form of the equivariant transformer, its scalar part."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from schnetgeo.errors import InputError
from schnetgeo.nn.conv import EdgeFeatures, RadialConv
from schnetgeo.nn.mlp import dense


class AttentionConv(RadialConv):
    """y_i = O Σ_{j→i} f(r_ij) a_ij ⊙ V x_j ⊙ D_v(r_ij), a_ij = silu(⟨Q x_i, K x_j ⊙ D_k(r_ij)⟩).

    The product ⟨·,·⟩ is over the channels of a head. There is no softmax: a sum to one over
    neighbors would jump where an atom comes into the cutoff. For `SchNet(conv=AttentionConv)`, or
    `conv=partial(AttentionConv, heads=4)`; a_ij is no product of functions of i, j and r, so
    autograd runs the model instead of the engine.

    Args:
        channels: F, features per atom.
        num_basis: K, radial basis functions per edge.
        heads: number of heads, a divisor of `channels`.

    Raises:
        InputError: if `heads` does not divide `channels`.

    Source: Thölke, De Fabritiis, ICLR 2022, arXiv:2202.02541, eqs. 5 to 7.
    """

    def __init__(self, channels: int, num_basis: int, heads: int = 8):
        super().__init__(channels, num_basis)
        if channels % heads:
            raise InputError(
                f"heads must divide channels={channels}, got {heads}; give 1, 2, 4 or 8"
            )
        self.heads = heads
        self.query_key_value = dense(channels, 3 * channels)
        self.filter = nn.Sequential(dense(num_basis, 2 * channels), nn.SiLU())  # D_k and D_v
        self.out = dense(channels, channels)

    def forward(self, x: Float[Tensor, "N F"], edges: EdgeFeatures) -> Float[Tensor, "N F"]:
        return self.out(super().forward(self.query_key_value(x), edges))

    def message(self, x_i: Tensor, x_j: Tensor, W: Tensor) -> Tensor:
        query, _, _ = x_i.chunk(3, dim=-1)
        _, key, value = x_j.chunk(3, dim=-1)
        of_key, of_value = W.chunk(2, dim=-1)
        by_head = (query * key * of_key).unflatten(-1, (self.heads, -1))
        attention = F.silu(by_head.sum(-1, keepdim=True)).expand_as(by_head).flatten(-2)
        return attention * value * of_value
