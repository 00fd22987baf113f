"""Total charge and spin of a structure as features of its atoms."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.geometry import batch_index
from schnetgeo.nn.mlp import dense
from schnetgeo.nn.molecule import state_of
from schnetgeo.nn.readout import sum_atoms


class States(NamedTuple):
    """Charge and spin of structures, and which structure each atom belongs to."""

    charge: Float[Tensor, "B"]  # e
    spin: Float[Tensor, "B"]  # number of unpaired electrons
    batch: Int[Tensor, "N"]

    @classmethod
    def of(cls, data: Data, like: Tensor) -> "States":
        """`data.charge` and `data.spin`, 0 where structures have none, in the type of a tensor.

        Raises:
            InputError: unless there is one number for each structure.
        """
        return cls(state_of(data, "charge", like), state_of(data, "spin", like), batch_index(data))


class StateEmbedding(nn.Module):
    """e_i = a_i(Q) v(Q) + a_i(S) v(S): what charge Q and spin S add to the features of atom i.

    a_i(Ψ) = Ψ s_i / Σ_j s_j with s_i = softplus(q_i · k / √F) and q_i = query(x_i): the atoms of a
    structure share its charge out by their features. k and v are vectors for positive Ψ, and others
    for negative. e_i = 0 where Q = S = 0.

    Any measure of spin will do, for instance the number of unpaired electrons, as long as all
    structures have the same.

    Args:
        channels: F, features per atom.

    Source: Unke et al., Nat. Commun. 12, 7273 (2021), eqs. 9 and 10, without the residual network.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.charge = SharedOut(channels)
        self.spin = SharedOut(channels)

    def forward(self, x: Float[Tensor, "N F"], states: States) -> Float[Tensor, "N F"]:
        charge = self.charge(x, states.charge, states.batch)
        return charge + self.spin(x, states.spin, states.batch)


class SharedOut(nn.Module):
    """Ψ s_i / Σ_j s_j · v, as `StateEmbedding` says, for one Ψ.

    Args:
        channels: F, features per atom.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.query = dense(channels, channels)
        self.key = nn.Parameter(torch.randn(2, channels))  # for negative numbers, for positive
        self.value = nn.Parameter(torch.randn(2, channels))

    def forward(
        self, x: Float[Tensor, "N F"], psi: Float[Tensor, "B"], batch: Int[Tensor, "N"]
    ) -> Float[Tensor, "N F"]:
        kind = (psi > 0).long().index_select(0, batch)
        key, value = self.key.index_select(0, kind), self.value.index_select(0, kind)
        score = nn.functional.softplus((self.query(x) * key).sum(1) / x.size(1) ** 0.5)
        share = psi / sum_atoms(score, batch, len(psi))
        return (share.index_select(0, batch) * score).unsqueeze(1) * value
