"""What other packages can take of our models, part by part."""

import torch
from torch import Tensor, nn

from schnetgeo.errors import InputError
from schnetgeo.nn import (
    AtomisticModel,
    CFConv,
    CosineCutoff,
    GaussianBasis,
    Interaction,
    MeanReadout,
    SchNet,
    StoredGaussianBasis,
    SumReadout,
)
from schnetgeo.nn.cutoff import MollifierCutoff
from schnetgeo.potential import Potential


def check_exports(
    potential: Potential,
    architecture: type[AtomisticModel],
    where: str,
    activations: tuple[type[nn.Module], ...],
    readout_activations: tuple[type[nn.Module], ...],
) -> AtomisticModel:
    """The model of a potential that has a counterpart in another package.

    Args:
        potential: to be exported.
        architecture: that the counterpart has.
        where: name of the exporting function, for the message.
        activations: that the counterpart knows in its layers.
        readout_activations: likewise in the readout.

    Raises:
        InputError: for anything that has none; names it.
    """
    model = potential.model

    def need(holds: bool, what: str) -> None:
        if not holds:
            raise InputError(f"{where}: {what} has no counterpart there")

    name = type(model).__name__
    need(type(model) is architecture, f"{name}, where {architecture.__name__} is asked for,")
    need(len(potential.outputs) == 1, f"a model of {len(potential.outputs)} targets")
    need(
        type(model.readout) in (SumReadout, MeanReadout), f"readout {type(model.readout).__name__}"
    )
    act = model.readout.activation
    need(type(act) in readout_activations, f"activation {type(act).__name__} of the readout")
    need(type(model.cutoff_fn) in (CosineCutoff, MollifierCutoff), f"{model.cutoff_fn}")
    need(model.cutoff_fn.cutoff == model.cutoff, "a cutoff function of another cutoff")
    need(model.state_embedding is None, "state_embedding")
    if isinstance(model, SchNet):
        for layer in model.interactions:
            need(type(layer) is Interaction, f"interaction {type(layer).__name__}")
            need(type(layer.conv) is CFConv, f"conv {type(layer.conv).__name__}")
            need(len(layer.conv.filter) == 3, "filter_last_activation")
            need(layer.lin1.bias is None, "in_bias")
            kind = type(layer.activation)
            need(kind in activations, f"activation {kind.__name__}")
            need(type(layer.conv.filter[1]) is kind, "another activation in the filter network")
    return model


def gaussians(basis: nn.Module, where: str) -> tuple[Tensor, Tensor]:
    """Centers (K,) in Å and exponents (K,) in Å⁻² of Gaussians, in float64.

    Raises:
        InputError: for another basis.
    """
    if type(basis) is StoredGaussianBasis:
        return basis.centers, basis.exponents
    if type(basis) is not GaussianBasis:
        raise InputError(f"{where}: {type(basis).__name__} has no counterpart there")
    centers = torch.linspace(0, basis.cutoff, basis.num_basis, dtype=torch.float64)
    return centers, torch.full_like(centers, basis.gamma)
