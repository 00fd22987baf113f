"""Several readouts on one model."""

from collections.abc import Callable
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.errors import InputError
from schnetgeo.nn.readout import Readout, SumReadout


class Heads(Readout):
    """The values of several readouts, which share the features of one model.

        SchNet(readout=partial(Heads, energy=SumReadout, dipole=DipoleReadout))

    The names are those of the targets that they are trained on, energy first where there is one.

    Args:
        channels: F, features per atom.
        hidden_channels: width of the hidden layers.
        activation: class of the activations.
        zero_init: start from results of 0.
        **readouts: class of each readout, called with these four.
    """

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        activation: Callable[[], nn.Module],
        zero_init: bool = False,
        **readouts: Callable[[int, int, type, bool], Readout],
    ):
        super().__init__()
        if not readouts:
            raise InputError(
                "Heads needs a readout by the name of its target, as in "
                "partial(Heads, energy=SumReadout)"
            )
        self.heads = nn.ModuleDict()
        for name, readout in readouts.items():
            cls = readout.func if isinstance(readout, partial) else readout
            if isinstance(cls, type) and (not issubclass(cls, Readout) or issubclass(cls, Heads)):
                raise InputError(
                    f"{name} must be a subclass of schnetgeo.nn.Readout, got {cls.__name__}; "
                    "derive a class from Readout"
                )
            self.heads[name] = readout(channels, hidden_channels, activation, zero_init)

    @property
    def needs_vectors(self) -> bool:
        """Whether one of them does."""
        return any(head.needs_vectors for head in self.heads.values())

    @property
    def linear(self) -> SumReadout | None:
        """That of the first head."""
        return next(iter(self.heads.values())).linear

    @property
    def periodic(self) -> bool:
        """Whether a periodic structure has all results."""
        return all(head.periodic for head in self.heads.values())

    def forward(self, x: Float[Tensor, "N F"], v: Float[Tensor, "N 3 F"] | None = None) -> tuple:
        return tuple(head(x, v) for head in self.heads.values())

    def reduce(self, values: tuple, data: Data) -> tuple[Tensor, ...]:
        """The result of each head."""
        pairs = zip(self.heads.values(), values, strict=True)
        return tuple(head.reduce(value, data) for head, value in pairs)
