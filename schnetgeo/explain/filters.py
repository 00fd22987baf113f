"""The filters that layers have learned, as curves of the distance."""

import torch
from jaxtyping import Float
from torch import Tensor

from schnetgeo.errors import InputError
from schnetgeo.nn import RadialConv
from schnetgeo.nn.model import AtomisticModel
from schnetgeo.potential import Potential


@torch.no_grad()
def filter_curves(
    potential: Potential, distance: Float[Tensor, "R"]
) -> dict[str, Float[Tensor, "R F"]]:
    """f(r) W(r) of each message-passing layer, by the name of the layer.

    Args:
        potential: model with layers that have a `filter`, such as SchNet or PaiNN.
        distance: r in Å.

    Raises:
        InputError: for a model without such layers.
    """
    model = potential.model
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, RadialConv)
        and isinstance(getattr(layer, "filter", None), torch.nn.Module)
    }
    if not isinstance(model, AtomisticModel) or not layers:
        raise InputError(
            f"filter_curves: {type(model).__name__} has no filters; take SchNet or PaiNN"
        )
    distance = distance.to(potential.scale.dtype)
    basis, weight = model.basis(distance), model.cutoff_fn(distance).unsqueeze(-1)
    return {name: weight * layer.filter(basis) for name, layer in layers.items()}
