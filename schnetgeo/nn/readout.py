"""From features of atoms to what a model predicts of them, or of their structure."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.geometry import batch_index, num_structures
from schnetgeo.nn.mlp import dense, zero_

AtomicValues = Tensor | tuple  # N rows, or a tuple of such, nested where there are several heads


class Readout(nn.Module, ABC):
    """Atomic values from features, and a result from atomic values.

    A subclass is called as cls(channels, hidden_channels, activation, zero_init).

    Attributes:
        per: what has a result: each structure, or each atom.
        shape: of one result.
        extensive: whether the result of two structures far apart is the sum of theirs; `None`
            where it is neither that nor independent of the size.
        unit: of the result; `None` is a number that is multiplied by a fitted scale.
        periodic: whether a periodic structure has a result.
        needs_vectors: whether `forward` needs vector features.
    """

    per: ClassVar[Literal["structure", "atom"]] = "structure"
    shape: ClassVar[tuple[int, ...]] = ()
    extensive: ClassVar[bool | None] = None
    unit: ClassVar[str | None] = None
    periodic: ClassVar[bool] = True
    needs_vectors: ClassVar[bool] = False

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "N F"], v: Float[Tensor, "N 3 F"] | None = None
    ) -> AtomicValues:
        """Values of each atom, from its features alone.

        Args:
            x: features.
            v: vector features, of models that have such.
        """

    @property
    def linear(self) -> "SumReadout | None":
        """The readout of the first result where that is a plain sum or mean of atomic values."""
        return None

    @abstractmethod
    def reduce(self, values: AtomicValues, data: Data) -> Tensor:
        """The result (B, …) of each structure, or (N, …) of each atom.

        Args:
            values: what `forward` gave.
            data: structure or batch.
        """


class AtomReadout(Readout):
    """y_i = lin2(act(lin1(x_i))): a number for each atom, such as a partial charge.

    Args:
        channels: F, features per atom.
        hidden_channels: width of the hidden layer.
        activation: class of the activation between the two layers.
        zero_init: start from y = 0.
    """

    per = "atom"

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

    def forward(
        self, x: Float[Tensor, "N F"], v: Float[Tensor, "N 3 F"] | None = None
    ) -> Float[Tensor, "N"]:
        return self.lin2(self.activation(self.lin1(x))).squeeze(-1)

    def reduce(self, values: Float[Tensor, "N"], data: Data) -> Float[Tensor, "N"]:
        return values


class SumReadout(AtomReadout):
    """Σ_i y_i of the numbers of `AtomReadout`: extensive properties such as the energy.

    Source: Schütt et al., NeurIPS 2017, arXiv:1706.08566.
    """

    per = "structure"
    extensive = True

    @property
    def linear(self) -> "SumReadout | None":
        """Itself, unless a subclass or somebody else changed what it does."""
        weights = SumReadout.atom_weights, MeanReadout.atom_weights
        plain = type(self).reduce is SumReadout.reduce and type(self).atom_weights in weights
        return self if plain and not {"reduce", "atom_weights"} & vars(self).keys() else None

    def atom_weights(self, batch: Int[Tensor, "N"], num_structures: int) -> Float[Tensor, "N"]:
        """Weight of each atom in the sum over its structure: 1."""
        return self.lin2.weight.new_ones(batch.numel())

    def reduce(self, values: Float[Tensor, "N"], data: Data) -> Float[Tensor, "B"]:
        batch = batch_index(data), num_structures(data)
        return sum_atoms(self.atom_weights(*batch) * values, *batch)


class MeanReadout(SumReadout):
    """(1/n) Σ_i y_i over n atoms: intensive properties such as orbital energies."""

    extensive = False

    def atom_weights(self, batch: Int[Tensor, "N"], num_structures: int) -> Float[Tensor, "N"]:
        """Weight of each atom in the sum over its structure: 1/n of its n atoms."""
        weights = super().atom_weights(batch, num_structures)
        return weights / sum_atoms(weights, batch, num_structures).index_select(0, batch)


class ShiftedSumReadout(SumReadout):
    """Σ_i y_i + s with one number s for each structure: energies of TorchMD-Net.

    Energies of two structures far apart then do not add up; new models do without s.

    Args:
        channels: F, features per atom.
        hidden_channels: width of the hidden layer.
        activation: class of the activation between the two layers.
        zero_init: start from y = 0.
        shift: s, in units of the potential's scale.
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        activation: Callable[[], nn.Module],
        zero_init: bool = False,
        shift: float = 0.0,
    ):
        super().__init__(channels, hidden_channels, activation, zero_init)
        self.shift = shift

    def reduce(self, values: Float[Tensor, "N"], data: Data) -> Float[Tensor, "B"]:
        return super().reduce(values, data).double() + self.shift


def sum_atoms(
    y: Float[Tensor, "N ..."], batch: Int[Tensor, "N"], num_structures: int
) -> Float[Tensor, "B ..."]:
    """Σ_{i∈b} y_i for each structure b."""
    return y.new_zeros(num_structures, *y.shape[1:]).index_add(0, batch, y)
