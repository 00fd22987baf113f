"""PaiNN, the polarizable atom interaction neural network."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from schnetgeo.nn.arguments import basis_of, check_arguments, part, readout_of
from schnetgeo.nn.basis import BesselBasis
from schnetgeo.nn.conv import EdgeFeatures, RadialConv
from schnetgeo.nn.cutoff import CosineCutoff
from schnetgeo.nn.mlp import dense, mlp
from schnetgeo.nn.model import AtomisticModel
from schnetgeo.nn.presets import PAINN
from schnetgeo.nn.readout import AtomicValues, Readout, SumReadout
from schnetgeo.nn.state_embedding import States


class PaiNNConv(RadialConv):
    """Messages of PaiNN: with [s, a, b] = φ_j ⊙ W(r_ij), s to scalars, a u_ij + b v_j to vectors.

    Called with φ (N, 3 F) and v (N, 3, F), or `None` for v = 0; gives (N, F) and (N, 3, F).
    """

    def __init__(self, channels: int, num_basis: int):
        super().__init__(channels, num_basis)
        self.filter = dense(num_basis, 3 * channels)

    def message(self, x_j, v_j, W, edge_unit):
        s, a, b = (x_j * W).chunk(3, dim=-1)
        v = a.unsqueeze(1) * edge_unit.unsqueeze(-1)
        return s, v if v_j is None else v + b.unsqueeze(1) * v_j


class PaiNNInteraction(nn.Module):
    """x' = x + Σ s, v' = v + Σ (a u + b v_j), then x' + α + γ ⟨U v', V v'⟩ and v' + β ⊙ V v'.

    The sums are those of `PaiNNConv` with φ = message(x), and [α, β, γ] = update([x', |U v'|]).
    """

    def __init__(self, channels: int, conv: RadialConv, activation: Callable[[], nn.Module]):
        super().__init__()
        self.message = mlp(channels, channels, 3 * channels, activation)
        self.conv = conv
        self.mix = dense(channels, 2 * channels, bias=False)  # U and V
        self.update = mlp(2 * channels, channels, 3 * channels, activation)

    def forward(
        self, x: Float[Tensor, "N F"], v: Float[Tensor, "N 3 F"] | None, edges: EdgeFeatures
    ) -> tuple[Float[Tensor, "N F"], Float[Tensor, "N 3 F"]]:
        dx, dv = self.conv(self.message(x), edges, v)
        x, v = x + dx, dv if v is None else v + dv
        Uv, Vv = self.mix(v).chunk(2, dim=-1)
        norm = (Uv.square().sum(1) + 1e-8).sqrt()
        a, b, c = self.update(torch.cat([x, norm], dim=-1)).chunk(3, dim=-1)
        return x + a + c * (Uv * Vv).sum(1), v + b.unsqueeze(1) * Vv


class PaiNN(AtomisticModel):
    """x⁰_i = embedding[z_i], v⁰_i = 0;  x, v = Interaction_l(x, v);  E = Σ_i readout(x^L_i).

    Vector features see angles; they turn with the molecule, and the energy does not change.

    Args:
        channels: F, scalar features per atom, and vectors.
        num_layers: number of interactions.
        num_basis: K, Bessel functions to `cutoff`, where `basis` is `None`.
        cutoff: r_c in Å; atoms farther apart do not interact.
        basis: radial basis functions, such as `GaussianBasis(20, 5.0)`; `None` is Bessel functions.
        cutoff_fn: cutoff function, or its class, called as cutoff_fn(cutoff).
        activation: class of the activation between dense layers.
        readout: class of the readout, such as SumReadout, MeanReadout or DipoleReadout.
        readout_channels: hidden width of the readout; `None` is channels // 2.
        zero_init: start with the readout's last layer at zero.
        max_z: rows of the embedding; atomic numbers must lie below.
        state_embedding: class that reads charge and spin, such as StateEmbedding, or `None`.

    Raises:
        InputError: if an argument breaks its rule.

    Source: Schütt, Unke, Gastegger, ICML 2021, arXiv:2102.03150.
    """

    presets = PAINN
    has_vectors = True

    def __init__(
        self,
        channels: int = 128,
        num_layers: int = 3,
        num_basis: int = 20,
        cutoff: float = 5.0,
        basis: nn.Module | None = None,
        cutoff_fn: Callable[[float], nn.Module] | nn.Module = CosineCutoff,
        activation: Callable[[], nn.Module] = nn.SiLU,
        readout: Callable[[int, int, type, bool], Readout] = SumReadout,
        readout_channels: int | None = None,
        zero_init: bool = False,
        max_z: int = 100,
        state_embedding: Callable[[int], nn.Module] | None = None,
    ):
        check_arguments(type(self), self.hyperparameters)
        super().__init__(cutoff, max_z, basis_of(basis, BesselBasis, num_basis, cutoff), cutoff_fn)
        part("activation", activation, nn.Module)
        self.set_embedding(channels, state_embedding)
        self.interactions = nn.ModuleList(
            PaiNNInteraction(channels, PaiNNConv(channels, self.basis.num_basis), activation)
            for _ in range(num_layers)
        )
        sizes = channels, readout_channels or max(channels // 2, 1), activation, zero_init
        self.readout = readout_of(readout, self.has_vectors, *sizes)

    def atomic_values(
        self, z: Int[Tensor, "N"], edges: EdgeFeatures, states: States | None = None
    ) -> AtomicValues:
        x, v = self.embed(z, states), None
        for interaction in self.interactions:
            x, v = interaction(x, v, edges)
        return self.readout(x, v)
