"""From our SchNet and PaiNN to those of SchNetPack 2."""

import math
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from schnetgeo.errors import InputError
from schnetgeo.interop.parts import check_exports, gaussians
from schnetgeo.nn import AtomisticModel, BesselBasis, MeanReadout, PaiNN, SchNet, ShiftedSoftplus
from schnetgeo.nn.cutoff import MollifierCutoff
from schnetgeo.potential import Potential

if TYPE_CHECKING:
    from schnetpack.model import NeuralNetworkPotential

_ACTIVATIONS = (ShiftedSoftplus, nn.SiLU, nn.Tanh, nn.Sigmoid)


def to_schnetpack(potential: Potential) -> "NeuralNetworkPotential":
    """The model of SchNetPack that equals a potential, energy in eV and forces in eV/Å.

    Args:
        potential: of SchNet or PaiNN with an energy that is a sum, or mean, over atoms.

    Raises:
        InputError: for a model that has no counterpart there, and where SchNetPack is missing.
    """
    spk = _import()
    kind = PaiNN if isinstance(potential.model, PaiNN) else SchNet
    model = check_exports(potential, kind, "to_schnetpack", _ACTIVATIONS, _ACTIVATIONS)
    basis, factor = _basis(spk, model)
    cutoff = spk.nn.MollifierCutoff if _is_mollifier(model) else spk.nn.CosineCutoff
    channels, number = model.embedding.embedding_dim, len(model.interactions)
    act = _activation(spk, _layer_activation(model))
    build = spk.representation.PaiNN if kind is PaiNN else spk.representation.SchNet
    embedding = nn.Embedding(model.max_z, channels)
    representation = build(
        channels, number, basis, cutoff(model.cutoff), activation=act, nuclear_embedding=embedding
    )
    key, mean = potential.targets[0].name, isinstance(model.readout, MeanReadout)
    atomwise = spk.atomistic.Atomwise(
        channels,
        n_hidden=model.readout.lin1.out_features,
        activation=_activation(spk, model.readout.activation),
        aggregation_mode="avg" if mean else "sum",
        output_key=key,
    )
    forces = [spk.atomistic.Forces(energy_key=key)] if potential.has_energy else []
    offsets = spk.transform.AddOffsets(key, add_atomrefs=True, is_extensive=not mean)
    net = spk.model.NeuralNetworkPotential(
        representation,
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[atomwise, *forces],
        postprocessors=[spk.transform.CastTo64(), offsets],
    ).to(potential.scale.dtype)
    (_copy_painn if kind is PaiNN else _copy_schnet)(model, representation, factor)
    _copy_readout(potential, atomwise)
    _store_exactly(model, basis, representation.cutoff_fn)
    offsets.atomref = potential.atomic_references.values.cpu().clone()
    return net.eval()


def _import():
    """SchNetPack, which asks for a name that torch dropped in 2.13."""
    from torch.utils.data import dataloader

    if not hasattr(dataloader, "T_co"):
        dataloader.T_co = TypeVar("T_co", covariant=True)
    try:
        import schnetpack as spk
        import schnetpack.atomistic
        import schnetpack.model
        import schnetpack.representation
        import schnetpack.transform
    except ImportError as error:
        raise InputError(
            f"to_schnetpack needs SchNetPack ({error}); pip install schnetpack, or pip install "
            "--no-deps schnetpack beside what it imports"
        ) from None
    return spk


def _basis(spk, model: AtomisticModel) -> tuple[nn.Module, float]:
    """The basis there, and by how much ours is larger."""
    ours = model.basis
    if type(ours) is BesselBasis:
        return spk.nn.BesselRBF(ours.num_basis, ours.cutoff), math.sqrt(2 / ours.cutoff)
    centers, _ = gaussians(ours, "to_schnetpack")
    return spk.nn.GaussianRBF(len(centers), model.cutoff), 1.0


def _store_exactly(model: AtomisticModel, basis: nn.Module, cutoff_fn: nn.Module) -> None:
    """Numbers that SchNetPack makes in float32, in the model's type."""
    dtype, ours = next(model.parameters()).dtype, model.basis
    cutoff_fn.cutoff = torch.tensor([model.cutoff], dtype=dtype)
    if type(ours) is BesselBasis:
        number = torch.arange(1, ours.num_basis + 1, dtype=torch.float64)
        basis.freqs = (number * (math.pi / ours.cutoff)).to(dtype)
        return
    centers, exponents = gaussians(ours, "to_schnetpack")
    basis.offsets, basis.widths = centers.to(dtype), (0.5 / exponents).sqrt().to(dtype)


def _is_mollifier(model: AtomisticModel) -> bool:
    return type(model.cutoff_fn) is MollifierCutoff


def _layer_activation(model: AtomisticModel) -> nn.Module:
    first = model.interactions[0]
    return first.activation if isinstance(model, SchNet) else first.message[1]


def _activation(spk, ours: nn.Module):
    """The function there that an activation is."""
    if isinstance(ours, ShiftedSoftplus):
        return spk.nn.shifted_softplus
    return {nn.SiLU: nn.functional.silu, nn.Tanh: torch.tanh, nn.Sigmoid: torch.sigmoid}[type(ours)]


@torch.no_grad()
def _copy_schnet(model: SchNet, representation: nn.Module, factor: float) -> None:
    representation.embedding.weight.copy_(model.embedding.weight)
    for ours, theirs in zip(model.interactions, representation.interactions, strict=True):
        _copy(ours.conv.filter[0], theirs.filter_network[0], factor)
        _copy(ours.conv.filter[2], theirs.filter_network[1])
        _copy(ours.lin1, theirs.in2f)
        _copy(ours.lin2, theirs.f2out[0])
        _copy(ours.lin3, theirs.f2out[1])


@torch.no_grad()
def _copy_painn(model: PaiNN, representation: nn.Module, factor: float) -> None:
    representation.embedding.weight.copy_(model.embedding.weight)
    parts = zip(model.interactions, representation.interactions, representation.mixing, strict=True)
    for ours, interaction, mixing in parts:
        _copy(ours.message[0], interaction.interatomic_context_net[0])
        _copy(ours.message[2], interaction.interatomic_context_net[1])
        _copy(ours.mix, mixing.mu_channel_mix)
        _copy(ours.update[0], mixing.intraatomic_context_net[0])
        _copy(ours.update[2], mixing.intraatomic_context_net[1])
    filters = [layer.conv.filter for layer in model.interactions]
    representation.filter_net.weight.copy_(factor * torch.cat([f.weight for f in filters]))
    representation.filter_net.bias.copy_(torch.cat([f.bias for f in filters]))


@torch.no_grad()
def _copy_readout(potential: Potential, atomwise: nn.Module) -> None:
    """Both layers, the last times the potential's scale."""
    readout = potential.model.readout
    _copy(readout.lin1, atomwise.outnet[0])
    atomwise.outnet[1].weight.copy_(potential.scale * readout.lin2.weight)
    atomwise.outnet[1].bias.copy_(potential.scale * readout.lin2.bias)


def _copy(ours: nn.Linear, theirs: nn.Linear, factor: float = 1.0) -> None:
    theirs.weight.copy_(factor * ours.weight)
    if ours.bias is not None:
        theirs.bias.copy_(ours.bias)
