"""Dense layers with SchNet's activation and initialization."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ShiftedSoftplus(nn.Module):
    """ssp(x) = ln(½ eˣ + ½) = softplus(x) − ln 2, finite for every finite x.

    Source: Schütt et al., NeurIPS 2017, arXiv:1706.08566.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(x, threshold=40) - math.log(2.0)


def dense(channels_in: int, channels_out: int, bias: bool = True) -> nn.Linear:
    """A linear layer with Glorot-uniform weights and zero bias."""
    layer = nn.Linear(channels_in, channels_out, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def mlp(
    channels_in: int, hidden: int, channels_out: int, activation: Callable[[], nn.Module]
) -> nn.Sequential:
    """Two dense layers with an activation between them."""
    return nn.Sequential(dense(channels_in, hidden), activation(), dense(hidden, channels_out))


def num_parameters(module: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@torch.no_grad()
def zero_(layer: nn.Linear) -> nn.Linear:
    """Set weights and bias to zero, so that training starts from the reference energies."""
    for parameter in layer.parameters():
        parameter.zero_()
    return layer
