"""Random weights for tests, with nothing left at its initial zero."""

import copy

import torch
from torch import nn

from schnetgeo.nn.spline import PlacedFilters
from schnetgeo.potential import Potential


@torch.no_grad()
def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Draw all parameters anew, biases and last layers included, and return the model."""
    random = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        scale = 0.7 * parameter.size(-1) ** -0.5 if parameter.dim() > 1 else 0.3
        parameter.copy_(scale * torch.randn(parameter.shape, generator=random))
    return model


def is_fast(model):
    """Whether functions written for it stand for a model's forward."""
    return Potential(model).is_fast


class Lengths(nn.Module):
    """The distance itself in place of basis functions of it."""

    def forward(self, distance):
        return distance.unsqueeze(-1)


class OnKnots(nn.Module):
    """A filter network that is interpolated between knots."""

    def __init__(self, network, knots, cutoff_fn):
        super().__init__()
        self.network, self.knots, self.cutoff_fn = network, knots, cutoff_fn

    def forward(self, lengths):
        return PlacedFilters(self.knots, self.cutoff_fn, None, lengths[:, 0]).on_edges(self.network)


def layered(potential):
    """The same with the same splines, layer by layer and through autograd."""
    potential = copy.deepcopy(potential)
    knots, model = potential.fast.knots, potential.model
    for interaction in model.interactions:
        conv = interaction.conv
        conv.filter = OnKnots(conv.filter, knots, model.cutoff_fn)
    model.basis = Lengths()
    assert not potential.is_fast
    return potential
