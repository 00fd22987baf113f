"""Random weights for tests, with nothing left at its initial zero."""

import torch
from torch import nn

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
    """Whether the engine runs a model."""
    return Potential(model).reading() is not None
