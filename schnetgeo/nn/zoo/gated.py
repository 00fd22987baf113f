"""A continuous-filter convolution with a gate of the atom that receives the message."""

from torch import Tensor

from schnetgeo.nn.conv import CFConv
from schnetgeo.nn.mlp import dense


class GatedConv(CFConv):
    """y_i = σ(A x_i + a) ⊙ Σ_{j→i} x_j ⊙ f(r_ij) W(r_ij), with W of CFConv.

    For `SchNet(conv=GatedConv)`. The engine computes the gate once for each atom.

    Args:
        channels: F, features per atom.
        num_basis: K, radial basis functions per edge.

    Source: the gate of Dauphin et al., ICML 2017, arXiv:1612.08083, on SchNet's convolution.
    """

    def __init__(self, channels: int, num_basis: int):
        super().__init__(channels, num_basis)
        self.gate = dense(channels, channels)

    def message(self, x_i: Tensor, x_j: Tensor, W: Tensor) -> Tensor:
        return self.gate(x_i).sigmoid() * x_j * W
