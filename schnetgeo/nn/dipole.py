"""Partial charges, and the dipole moment that they and local dipoles make."""

from collections.abc import Callable

import torch
from ase.data import atomic_masses
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.geometry import batch_index, distances, num_structures
from schnetgeo.nn.gated import GatedNetwork
from schnetgeo.nn.molecule import centered, state_of
from schnetgeo.nn.readout import AtomReadout, Readout, sum_atoms


class ChargeReadout(AtomReadout):
    """q_i = y_i + (Q − Σ_j y_j) / n: charges of n atoms that add up to the total charge Q, in e.

    y_i are the numbers of `AtomReadout`. Q is `data.charge`, 0 where there is none.
    """

    unit = "e"

    def reduce(self, values: Float[Tensor, "N"], data: Data) -> Float[Tensor, "N"]:
        return balanced(values, data)


class DipoleReadout(AtomReadout):
    """μ = Σ_i q_i r_i with the charges q_i of `ChargeReadout`, in e·Å.

    It turns with the molecule. It does not depend on the origin where Q = 0; the dipole of a
    charged molecule is that about the origin of the positions.

    Source: Gastegger, Behler, Marquetand, Chem. Sci. 8, 6924 (2017).
    """

    per, shape, extensive, unit, periodic = "structure", (3,), True, "e·Å", False

    def reduce(self, values: Float[Tensor, "N"], data: Data) -> Float[Tensor, "B 3"]:
        return dipole_of_charges(balanced(values, data), data)


class LocalDipoleReadout(Readout):
    """μ = Σ_i (q_i r_i + μ_i), with charges as in `DipoleReadout` and dipoles of atoms, in e·Å.

    y_i, from which the charges come, and μ_i are the scalar and the vector of a `GatedNetwork`.

    Args:
        channels: F, scalar features per atom, and vectors.
        hidden_channels: width of the hidden layer.
        activation: class of the activations.
        zero_init: start from μ = 0.

    Source: Schütt, Unke, Gastegger, ICML 2021, arXiv:2102.03150; Veit et al., J. Chem. Phys. 153,
    024113 (2020).
    """

    shape, extensive, unit, periodic = (3,), True, "e·Å", False
    needs_vectors = True

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        activation: Callable[[], nn.Module],
        zero_init: bool = False,
    ):
        super().__init__()
        self.net = GatedNetwork(channels, hidden_channels, activation, zero_init)

    def forward(
        self, x: Float[Tensor, "N F"], v: Float[Tensor, "N 3 F"]
    ) -> tuple[Float[Tensor, "N"], Float[Tensor, "N 3"]]:
        return self.net(x, v)

    def reduce(self, values: tuple[Tensor, Tensor], data: Data) -> Float[Tensor, "B 3"]:
        charges, dipoles = values
        local = sum_atoms(dipoles, batch_index(data), num_structures(data))
        return dipole_of_charges(balanced(charges, data), data) + local


class DipoleNormReadout(Readout):
    """|μ| of a readout of dipoles, in e·Å: what QM9 calls mu.

    It does not change when the molecule is turned or, where Q = 0, moved.

    Args:
        channels: F, features per atom.
        hidden_channels: width of the hidden layer.
        activation: class of the activations.
        zero_init: has no effect, for |μ| has no gradient at 0.
        dipole: class of the readout of μ, DipoleReadout or LocalDipoleReadout.
    """

    extensive, unit, periodic = False, "e·Å", False

    def __init__(
        self,
        channels: int,
        hidden_channels: int,
        activation: Callable[[], nn.Module],
        zero_init: bool = False,
        dipole: type[Readout] = DipoleReadout,
    ):
        super().__init__()
        self.dipole = dipole(channels, hidden_channels, activation)

    @property
    def needs_vectors(self) -> bool:
        """Whether the readout of μ does."""
        return self.dipole.needs_vectors

    def forward(
        self, x: Float[Tensor, "N F"], v: Float[Tensor, "N 3 F"] | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        return self.dipole(x, v)

    def reduce(self, values: Tensor | tuple[Tensor, Tensor], data: Data) -> Float[Tensor, "B"]:
        return distances(self.dipole.reduce(values, data))


class MassCenteredDipoleNormReadout(AtomReadout):
    """|Σ_i y_i (r_i − c)| with the center of mass c, in e·Å: mu of PyG's SchNet and SchNetPack 1.

    The charges y_i need not add up to the total charge; `DipoleNormReadout` is for new models.
    """

    per, extensive, unit, periodic = "structure", False, "e·Å", False

    def reduce(self, values: Float[Tensor, "N"], data: Data) -> Float[Tensor, "B"]:
        masses = torch.from_numpy(atomic_masses).to(data.z.device).index_select(0, data.z)
        relative, _ = centered(data, values.dtype, masses)
        terms = values.unsqueeze(1) * relative
        return distances(sum_atoms(terms, batch_index(data), num_structures(data)))


def balanced(y: Float[Tensor, "N"], data: Data) -> Float[Tensor, "N"]:
    """y_i + (Q − Σ_j y_j) / n for the n atoms of each structure and its total charge Q."""
    batch, number = batch_index(data), num_structures(data)
    missing = state_of(data, "charge", y) - sum_atoms(y, batch, number)
    return y + (missing / batch.bincount(minlength=number)).index_select(0, batch)


def dipole_of_charges(charges: Float[Tensor, "N"], data: Data) -> Float[Tensor, "B 3"]:
    """Σ_i q_i r_i of each structure, as Σ_i q_i (r_i − c) + Q c, which rounds less far away."""
    relative, center = centered(data, charges.dtype)
    batch, number = batch_index(data), num_structures(data)
    moment = sum_atoms(charges.unsqueeze(1) * relative, batch, number)
    return moment + state_of(data, "charge", charges).unsqueeze(1) * center
