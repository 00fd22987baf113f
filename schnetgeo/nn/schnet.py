"""SchNet, and the variants of it that the field uses under that name."""

from collections.abc import Callable
from functools import partial

from jaxtyping import Int
from torch import Tensor, nn

from schnetgeo.nn.arguments import basis_of, check_arguments, layer, part, readout_of
from schnetgeo.nn.basis import GaussianBasis
from schnetgeo.nn.conv import CFConv, EdgeFeatures, RadialConv
from schnetgeo.nn.cutoff import CosineCutoff
from schnetgeo.nn.interaction import Interaction
from schnetgeo.nn.mlp import ShiftedSoftplus
from schnetgeo.nn.model import AtomisticModel
from schnetgeo.nn.presets import SCHNET
from schnetgeo.nn.readout import AtomicValues, Readout, SumReadout
from schnetgeo.nn.state_embedding import States


class SchNet(AtomisticModel):
    """x⁰_i = embedding[z_i];  x^{l+1} = x^l + Interaction_l(x^l);  E = Σ_i readout(x^L_i).

    The model is a function of the distances r_ij < `cutoff` and of the atomic numbers, so its
    energy does not change under rotation, translation, reflection and renumbering of atoms.

    Where an argument is a class, `functools.partial` gives it arguments of its own, as in
    `conv=partial(MyConv, heads=4)`.

    Args:
        channels: F, features per atom and per filter.
        num_layers: number of interactions.
        num_basis: K, Gaussians from 0 to `cutoff`, where `basis` is `None`.
        cutoff: r_c in Å; atoms farther apart do not interact.
        basis: radial basis functions, such as `BesselBasis(8, 5.0)`; `None` is Gaussians.
        gamma: exponent of these Gaussians, Å⁻²; `None` follows from their spacing.
        cutoff_fn: cutoff function, or its class, called as cutoff_fn(cutoff).
        conv: class of the message-passing layer, called as conv(channels, num_basis);
            `None` is CFConv.
        interaction: class of a layer, called as interaction(channels, conv, activation, in_bias).
        activation: class of the activation between dense layers.
        filter_last_activation: activate the second layer of CFConv's filter network too.
        in_bias: give the dense layer before the convolution a bias.
        readout: class of the readout, such as SumReadout, MeanReadout or DipoleReadout.
        readout_channels: hidden width of the readout; `None` is channels // 2.
        readout_activation: class of the readout's activation; `None` is `activation`.
        zero_init: start with the readout's last layer at zero.
        max_z: rows of the embedding; atomic numbers must lie below.
        state_embedding: class that reads charge and spin, such as StateEmbedding, or `None`.

    Raises:
        InputError: if an argument breaks its rule.

    Source: Schütt et al., NeurIPS 2017, arXiv:1706.08566; J. Chem. Phys. 148, 241722 (2018).
    """

    presets = SCHNET

    def __init__(
        self,
        channels: int = 128,
        num_layers: int = 6,
        num_basis: int = 50,
        cutoff: float = 5.0,
        basis: nn.Module | None = None,
        gamma: float | None = None,
        cutoff_fn: Callable[[float], nn.Module] | nn.Module = CosineCutoff,
        conv: Callable[[int, int], RadialConv] | None = None,
        interaction: Callable[[int, RadialConv, type, bool], nn.Module] = Interaction,
        activation: Callable[[], nn.Module] = ShiftedSoftplus,
        filter_last_activation: bool = False,
        in_bias: bool = False,
        readout: Callable[[int, int, type, bool], Readout] = SumReadout,
        readout_channels: int | None = None,
        readout_activation: Callable[[], nn.Module] | None = None,
        zero_init: bool = False,
        max_z: int = 100,
        state_embedding: Callable[[int], nn.Module] | None = None,
    ):
        check_arguments(type(self), self.hyperparameters)
        basis = basis_of(basis, GaussianBasis, num_basis, cutoff, gamma)
        super().__init__(cutoff, max_z, basis, cutoff_fn)
        readout_activation = readout_activation or activation
        part("activation", activation, nn.Module)
        part("readout_activation", readout_activation, nn.Module)
        if conv is None:
            conv = partial(CFConv, activation=activation, last_activation=filter_last_activation)
        self.set_embedding(channels, state_embedding)
        self.interactions = nn.ModuleList()
        for _ in range(num_layers):
            sizes = channels, layer(conv, channels, basis.num_basis), activation, in_bias
            self.interactions.append(part("interaction", interaction, nn.Module, *sizes))
        sizes = channels, readout_channels or max(channels // 2, 1), readout_activation, zero_init
        self.readout = readout_of(readout, self.has_vectors, *sizes)

    def atomic_values(
        self, z: Int[Tensor, "N"], edges: EdgeFeatures, states: States | None = None
    ) -> AtomicValues:
        x = self.embed(z, states)
        for interaction in self.interactions:
            x = x + interaction(x, edges)
        return self.readout(x)
