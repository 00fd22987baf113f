"""From features of atoms to one number per structure."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from schnetgeo.nn.mlp import dense, zero_


class SumReadout(nn.Module):
    """E_b = Σ_{i∈b} lin2(act(lin1(x_i))): extensive properties such as the energy.

    Args:
        channels: F, features per atom.
        hidden_channels: width of the hidden layer.
        activation: class of the activation between the two layers.
        zero_init: start from E = 0.
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        activation: type[nn.Module],
        zero_init: bool = False,
    ):
        super().__init__()
        self.lin1 = dense(channels, hidden_channels)
        self.activation = activation()
        self.lin2 = dense(hidden_channels, 1)
        if zero_init:
            zero_(self.lin2)

    def forward(
        self, x: Float[Tensor, "N F"], batch: Int[Tensor, "N"], num_structures: int
    ) -> Float[Tensor, "B"]:
        shares = self.shares(batch, num_structures, x.dtype)
        return sum_atoms(shares * self.per_atom(x), batch, num_structures)

    def per_atom(self, x: Float[Tensor, "N F"]) -> Float[Tensor, "N"]:
        """The contribution of each atom."""
        return self.lin2(self.activation(self.lin1(x))).squeeze(-1)

    def shares(
        self, batch: Int[Tensor, "N"], num_structures: int, dtype: torch.dtype
    ) -> Float[Tensor, "N"]:
        """What each atom counts in the result of its structure: 1 in a sum."""
        return torch.ones(batch.numel(), dtype=dtype, device=batch.device)


class MeanReadout(SumReadout):
    """The mean over atoms instead of the sum: intensive properties such as orbital energies."""

    def shares(
        self, batch: Int[Tensor, "N"], num_structures: int, dtype: torch.dtype
    ) -> Float[Tensor, "N"]:
        """What each atom counts in the result of its structure: 1/n in a mean over n."""
        each = super().shares(batch, num_structures, dtype)
        return each / sum_atoms(each, batch, num_structures).index_select(0, batch)


def sum_atoms(
    y: Float[Tensor, "N"], batch: Int[Tensor, "N"], num_structures: int
) -> Float[Tensor, "B"]:
    """Σ_{i∈b} y_i for each structure b."""
    return y.new_zeros(num_structures).index_add(0, batch, y)
