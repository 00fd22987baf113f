"""SchNet, and the variants of it that the field uses under that name."""

import math
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.data.neighbors import sorted_edges, with_edges
from schnetgeo.errors import InputError
from schnetgeo.geometry import batch_index, distances, edge_vectors, num_structures
from schnetgeo.nn.arguments import check_arguments, layer, part
from schnetgeo.nn.built import Built, built
from schnetgeo.nn.captured import Graphs
from schnetgeo.nn.conv import CFConv, RadialConv
from schnetgeo.nn.fused import Atoms, Plan, energy_and_slope
from schnetgeo.nn.interaction import Interaction
from schnetgeo.nn.known import Written, adds_nothing, is_autocast, is_patched
from schnetgeo.nn.mlp import ShiftedSoftplus, num_parameters
from schnetgeo.nn.radial import CosineEnvelope, GaussianBasis, NoEnvelope
from schnetgeo.nn.readout import SumReadout
from schnetgeo.nn.spline import Knots, PlacedFilters

_PAPER = dict(
    channels=64,
    gamma=10.0,
    envelope=NoEnvelope,
    filter_last_activation=True,
    zero_init=True,
)
PRESETS = {
    "paper2017": dict(_PAPER, num_layers=3, num_basis=300, cutoff=30.0, readout_channels=32),
    "jcp2018": dict(_PAPER, num_layers=6, num_basis=200, cutoff=20.0),
    "schnetpack": dict(
        channels=128, num_layers=6, num_basis=20, cutoff=5.0, readout_activation=nn.SiLU
    ),
    "pyg": dict(channels=128, num_layers=6, num_basis=50, cutoff=10.0),
    "torchmd_gn": dict(channels=128, num_layers=6, num_basis=50, cutoff=5.0),
}


class SchNet(nn.Module):
    """x⁰_i = embedding[z_i];  x^{l+1} = x^l + Interaction_l(x^l);  E = Σ_i readout(x^L_i).

    The model is a function of the distances r_ij < `cutoff` and of the atomic numbers, so its
    energy does not change under rotation, translation, reflection and renumbering of atoms.

    Args:
        channels: F, features per atom and per filter.
        num_layers: number of interactions.
        num_basis: K, Gaussians from 0 to `cutoff`.
        cutoff: r_c in Å; atoms farther apart do not interact.
        conv: class of the message-passing layer, called as conv(channels, num_basis);
            `None` is CFConv.
        gamma: exponent of the Gaussians, Å⁻²; `None` follows from their spacing.
        envelope: class of the envelope, called as envelope(cutoff).
        activation: class of the activation between dense layers.
        filter_last_activation: activate the second layer of CFConv's filter network too.
        in_bias: give the dense layer before the convolution a bias.
        readout: class of the readout, SumReadout or MeanReadout.
        readout_channels: hidden width of the readout; `None` is channels // 2.
        readout_activation: class of the readout's activation; `None` is `activation`.
        zero_init: start with the readout's last layer at zero.
        max_z: rows of the embedding; atomic numbers must lie below.
        filters: "spline" runs the filter networks on knots and interpolates; "exact" runs them
            on every edge. The weights are the same.
        spacing: distance of the knots in Å; `None` is 0.08 of a Gaussian's width, which leaves
            1e-5 to 3e-5 of the forces and at most 4e-5 of a parameter's gradient.

    Raises:
        InputError: if an argument breaks its rule.

    Source: Schütt et al., NeurIPS 2017, arXiv:1706.08566; J. Chem. Phys. 148, 241722 (2018).
    """

    def __init__(
        self,
        channels: int = 128,
        num_layers: int = 6,
        num_basis: int = 50,
        cutoff: float = 5.0,
        conv: type[RadialConv] | None = None,
        gamma: float | None = None,
        envelope: type[nn.Module] = CosineEnvelope,
        activation: type[nn.Module] = ShiftedSoftplus,
        filter_last_activation: bool = False,
        in_bias: bool = False,
        readout: type[SumReadout] = SumReadout,
        readout_channels: int | None = None,
        readout_activation: type[nn.Module] | None = None,
        zero_init: bool = False,
        max_z: int = 100,
        filters: Literal["spline", "exact"] = "spline",
        spacing: float | None = None,
    ):
        super().__init__()
        self.arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        check_arguments(self.arguments)
        if readout_channels is None:
            readout_channels = max(channels // 2, 1)
        self.cutoff = cutoff
        self.max_z = max_z
        self.filters = filters
        self._built: Built | None = None
        self._graphs = Graphs()
        self.embedding = nn.Embedding(max_z, channels)
        self.basis = GaussianBasis(num_basis, cutoff, gamma)
        self.envelope = part("envelope", envelope, nn.Module, cutoff)
        if spacing is None:
            spacing = 0.08 / math.sqrt(2 * self.basis.gamma)
        self.knots = Knots(self.basis, cutoff, spacing)
        part("activation", activation, nn.Module)
        part("readout_activation", readout_activation or activation, nn.Module)
        if conv is None:
            conv = partial(CFConv, activation=activation, last_activation=filter_last_activation)
        sizes = channels, num_basis
        self.interactions = nn.ModuleList(
            Interaction(channels, layer(conv, *sizes), activation, in_bias)
            for _ in range(num_layers)
        )
        sizes = channels, readout_channels
        self.readout = part(
            "readout", readout, SumReadout, *sizes, readout_activation or activation, zero_init
        )

    def extra_repr(self) -> str:
        layers = len(self.interactions)
        return (
            f"cutoff={self.cutoff:g} Å, {self.embedding.embedding_dim} channels, {layers} "
            f"interactions, {num_parameters(self):,} parameters, filters={self.filters!r}"
        )

    @classmethod
    def preset(cls, name: str, **changes) -> "SchNet":
        """A published variant: `paper2017`, `jcp2018`, `schnetpack`, `pyg` or `torchmd_gn`.

        Args:
            name: the variant.
            **changes: arguments that differ from it, as in `SchNet.preset("pyg", cutoff=6.0)`.

        Raises:
            InputError: for an unknown name; lists the known ones.
        """
        if name not in PRESETS:
            raise InputError(f"unknown preset {name!r}; known: {', '.join(PRESETS)}")
        return cls(**{**PRESETS[name], **changes})

    def _apply(self, fn, recurse=True):
        before = self.embedding.weight.data_ptr()
        super()._apply(fn, recurse)
        self._built = None  # parameters may be others now
        if self.embedding.weight.data_ptr() != before:
            self._graphs = Graphs()  # the old ones are for where the weights were
        return self

    def forward(self, data: Data) -> Float[Tensor, "B"]:
        """Energy of each structure in the unit the model was trained in, without references.

        Args:
            data: structure or batch with `z`, `pos`; edges that are missing are built.
        """
        data, on_knots, fused = self._prepared(data)
        distance = distances(edge_vectors(data)).to(self.embedding.weight.dtype)
        placed = None
        if on_knots:
            placed = PlacedFilters(self.knots, self.envelope, data, distance, fused=fused)
        basis = self.basis(distance) if placed is None or self._takes_basis else None
        edges = data.edge_index, self.envelope(distance), basis, placed
        x = self.embedding(data.z)
        for interaction in self.interactions:
            x = x + interaction(x, *edges)
        return self.readout(x, batch_index(data), num_structures(data))

    @torch.compiler.disable
    def _prepared(self, data: Data) -> tuple[Data, bool, bool]:
        """With edges; and whether filters may be taken from knots, and layers be fused."""
        data = with_edges(data, self.cutoff, longer=self.masks_edges)
        on_knots = self._has_knots and not is_autocast(data.pos.device)
        fused = on_knots and all(interaction.conv.fused for interaction in self.interactions)
        # if not fused, the layers, and whoever watches them, see the edges in their order
        return sorted_edges(data) if fused else data, on_knots, fused

    @property
    def _has_knots(self) -> bool:
        """Whether filters may be taken from knots: half precision would lose several times more."""
        precise = self.embedding.weight.dtype in (torch.float32, torch.float64)
        return self.filters == "spline" and precise and self.knots.serve(self.basis, self.envelope)

    @property
    def masks_edges(self) -> bool:
        """Whether edges beyond the cutoff may be there: they certainly have the weight 0."""
        envelope, layers = self.envelope, self.interactions
        known = type(envelope) in (CosineEnvelope, NoEnvelope) and envelope.cutoff <= self.cutoff
        usual = type(self).forward is SchNet.forward and not is_patched(self)
        return (
            known
            and usual
            and all(
                type(layer) is Interaction and not is_patched(layer) and layer.conv.fused
                for layer in layers
            )
        )

    @property
    def _takes_basis(self) -> bool:
        return any(interaction.conv.takes_basis for interaction in self.interactions)

    @property
    def has_slopes(self) -> bool:
        """Whether `energy_and_slope` may stand for `forward`: nobody changed or watches a part."""
        if torch.compiler.is_compiling():
            return False
        if not adds_nothing(type(self), SchNet) or not _WRITTEN.has(type(self)):
            return False
        self._built = built(self, self._built) if self._has_knots else None
        return self._built is not None

    def energy_and_slope(
        self, data: Data, distance: Float[Tensor, "E"], with_slope: bool = True
    ) -> tuple[Float[Tensor, "B"], Float[Tensor, "E"]]:
        """What `forward` gives, and slopes of its sum, of which those of a pair's two edges add up.

        Gradients flow from both to the parameters, none to the distances. Ask `has_slopes` before
        each call: it also finds the parts to compute with.

        Args:
            data: structure or batch with sorted edges.
            distance: of each edge, Å.
            with_slope: whether the slopes are wanted; they are 0 otherwise.

        Raises:
            InputError: where the model has no slopes.
        """
        placed = PlacedFilters(self.knots, self.envelope, data, distance.detach())
        return self.through(placed, data, with_slope)

    def through(
        self,
        placed: PlacedFilters,
        data: Data,
        with_slope: bool,
        tables: tuple[Tensor, ...] | None = None,
    ) -> tuple[Float[Tensor, "B"], Float[Tensor, "E"]]:
        """The same with filters that are placed already, and tables of them, if known."""
        if self._built is None and not self.has_slopes:
            raise InputError("energy_and_slope is for a model as it was built, see has_slopes")
        parts = self._built
        batch = batch_index(data), num_structures(data)
        shares = self.readout.shares(*batch, placed.distance.dtype)
        plan = Plan(placed, *parts.activations, shares, with_slope, tables, self._graphs)
        atoms = Atoms(data.z, *batch, data.get("ptr"))
        return energy_and_slope(plan, atoms, *parts.parameters)


_WRITTEN = Written(SchNet)
