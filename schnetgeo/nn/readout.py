"""From features of atoms to the values whose sum, or mean, is that of the structure."""

from collections.abc import Callable

from jaxtyping import Float, Int
from torch import Tensor, nn

from schnetgeo.nn.mlp import dense, zero_


class SumReadout(nn.Module):
    """y_i = lin2(act(lin1(x_i))), summed over atoms: extensive properties such as the energy.

    Args:
        channels: F, features per atom.
        hidden_channels: width of the hidden layer.
        activation: class of the activation between the two layers.
        zero_init: start from y = 0.
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        activation: Callable[[], nn.Module],
        zero_init: bool = False,
    ):
        super().__init__()
        self.lin1 = dense(channels, hidden_channels)
        self.activation = activation()
        self.lin2 = dense(hidden_channels, 1)
        if zero_init:
            zero_(self.lin2)

    def forward(self, x: Float[Tensor, "N F"]) -> Float[Tensor, "N"]:
        return self.lin2(self.activation(self.lin1(x))).squeeze(-1)

    def atom_weights(self, batch: Int[Tensor, "N"], num_structures: int) -> Float[Tensor, "N"]:
        """Weight of each atom in the sum over its structure: 1."""
        return self.lin2.weight.new_ones(batch.numel())


class MeanReadout(SumReadout):
    """The mean over atoms instead of the sum: intensive properties such as orbital energies."""

    def atom_weights(self, batch: Int[Tensor, "N"], num_structures: int) -> Float[Tensor, "N"]:
        """Weight of each atom in the sum over its structure: 1/n of its n atoms."""
        weights = super().atom_weights(batch, num_structures)
        return weights / sum_atoms(weights, batch, num_structures).index_select(0, batch)


def sum_atoms(
    y: Float[Tensor, "N"], batch: Int[Tensor, "N"], num_structures: int
) -> Float[Tensor, "B"]:
    """Σ_{i∈b} y_i for each structure b."""
    return y.new_zeros(num_structures).index_add(0, batch, y)
