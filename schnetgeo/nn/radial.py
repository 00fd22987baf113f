"""Functions of the distance: the Gaussian basis and the envelopes that end it."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from schnetgeo.errors import InputError
from schnetgeo.ops import kernels


class GaussianBasis(nn.Module):
    """Gaussians e_k(r) = exp(−γ (r − μ_k)²) on centers μ_k evenly spaced from 0 to `cutoff`.

    With `gamma=None`, γ = 1 / (2 Δ²) with Δ the distance between centers, as in SchNetPack, PyG
    and TorchMD-Net. The papers use γ = 10 Å⁻² and centers 0.1 Å apart.

    Args:
        num_basis: number K of functions, at least 2.
        cutoff: the last center, Å.
        gamma: γ in Å⁻².

    Source: Schütt et al., NeurIPS 2017, arXiv:1706.08566.
    """

    def __init__(self, num_basis: int, cutoff: float, gamma: float | None = None):
        super().__init__()
        if num_basis < 2:
            raise InputError(f"num_basis must be at least 2 to space the centers, got {num_basis}")
        if not 0 < cutoff < math.inf:
            raise InputError(f"cutoff must be a positive distance in Å, got {cutoff}")
        if gamma is not None and not 0 < gamma < math.inf:
            raise InputError(f"gamma must be a positive exponent in Å⁻², got {gamma}")
        self.num_basis = num_basis
        self.cutoff = cutoff
        self.gamma = 0.5 * ((num_basis - 1) / cutoff) ** 2 if gamma is None else gamma

    def extra_repr(self) -> str:
        return f"num_basis={self.num_basis}, cutoff={self.cutoff:g} Å, gamma={self.gamma:.4g} Å⁻²"

    def forward(self, distance: Float[Tensor, "E"]) -> Float[Tensor, "E K"]:
        centers = torch.linspace(
            0, self.cutoff, self.num_basis, dtype=distance.dtype, device=distance.device
        )
        exponent = -self.gamma * (distance.unsqueeze(-1) - centers).square()
        # below 1e-26 exactly 0: numbers of 1e-38 and less make processors several times slower
        return torch.exp(F.threshold(exponent, -60.0, -math.inf))


class CosineEnvelope(nn.Module):
    """f(r) = ½ (cos(π r / r_c) + 1) for r < r_c, and 0 at and beyond the cutoff r_c (Å)."""

    def __init__(self, cutoff: float):
        super().__init__()
        self.cutoff = cutoff

    def extra_repr(self) -> str:
        return f"cutoff={self.cutoff:g} Å"

    def forward(self, distance: Float[Tensor, "E"]) -> Float[Tensor, "E"]:
        inside = 0.5 * (torch.cos(distance * (math.pi / self.cutoff)) + 1)
        return inside * (distance < self.cutoff)


class NoEnvelope(nn.Module):
    """f(r) = 1 for r < r_c, and 0 at and beyond: the papers' molecules, where all pairs interact.

    Energies then jump where an edge appears or vanishes at the cutoff.
    """

    def __init__(self, cutoff: float):
        super().__init__()
        self.cutoff = cutoff

    def extra_repr(self) -> str:
        return f"cutoff={self.cutoff:g} Å"

    def forward(self, distance: Float[Tensor, "E"]) -> Float[Tensor, "E"]:
        return (distance < self.cutoff).to(distance.dtype)


def with_slope(envelope: nn.Module, distance: Float[Tensor, "E"]) -> tuple[Tensor, Tensor]:
    """f(r) and f′(r), without a graph."""
    if type(envelope) is CosineEnvelope:  # a subclass may be another function
        f, df = torch.empty_like(distance), torch.empty_like(distance)
        kernels(distance).cosine(distance, float(envelope.cutoff), f, df)
        return f, df
    with torch.enable_grad():
        r = distance.detach().requires_grad_()
        f = envelope(r)
        (slope,) = torch.autograd.grad(f.sum(), r) if f.requires_grad else (torch.zeros_like(r),)
    return f.detach().to(distance.dtype), slope
