"""Radial basis functions of the distance."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from schnetgeo.errors import InputError
from schnetgeo.nn.configurable import Configurable

_MAX_GAMMA = 1e6  # Å⁻²; splines of narrower functions would need too many knots


class GaussianBasis(Configurable):
    """Gaussians e_k(r) = exp(−γ (r − μ_k)²) on centers μ_k evenly spaced from 0 to `cutoff`.

    With `gamma=None`, γ = 1 / (2 Δ²) with Δ the distance between centers, as in SchNetPack, PyG
    and TorchMD-Net. The papers use γ = 10 Å⁻² and centers 0.1 Å apart.

    Args:
        num_basis: number K of functions, at least 2.
        cutoff: the last center, Å.
        gamma: γ in Å⁻², at most 10⁶: Gaussians 0.0007 Å wide.

    Raises:
        InputError: for numbers outside of these ranges.

    Source: Schütt et al., NeurIPS 2017, arXiv:1706.08566.
    """

    def __init__(self, num_basis: int, cutoff: float, gamma: float | None = None):
        super().__init__()
        if num_basis < 2:
            raise InputError(f"num_basis must be at least 2 to space the centers, got {num_basis}")
        _check_cutoff(cutoff)
        if gamma is not None and not 0 < gamma <= _MAX_GAMMA:
            raise InputError(
                f"gamma must be a positive exponent in Å⁻², got {gamma}; give {_MAX_GAMMA:.0e} or "
                "less"
            )
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


class BesselBasis(Configurable):
    """Spherical Bessel functions e_n(r) = √(2 / r_c) sin(n π r / r_c) / r, n = 1 … K.

    They vanish at the cutoff r_c, and are smooth at r = 0.

    Args:
        num_basis: number K of functions.
        cutoff: r_c in Å.

    Source: Gasteiger, Groß, Günnemann, ICLR 2020, arXiv:2003.03123.
    """

    def __init__(self, num_basis: int, cutoff: float):
        super().__init__()
        if num_basis < 1:
            raise InputError(f"num_basis must be at least 1, got {num_basis}")
        _check_cutoff(cutoff)
        self.num_basis = num_basis
        self.cutoff = cutoff

    def extra_repr(self) -> str:
        return f"num_basis={self.num_basis}, cutoff={self.cutoff:g} Å"

    def forward(self, distance: Float[Tensor, "E"]) -> Float[Tensor, "E K"]:
        n = torch.arange(1, self.num_basis + 1, dtype=distance.dtype, device=distance.device)
        wave_number = n * (math.pi / self.cutoff)
        scale = math.sqrt(2 / self.cutoff) * wave_number
        return scale * _sin_over(distance.unsqueeze(-1) * wave_number)


def _sin_over(x: Tensor) -> Tensor:
    """sin(x) / x with derivatives of every order, by its series where x is small."""
    is_small = x.abs() < 0.5
    small = torch.where(is_small, x, torch.zeros_like(x)).square()
    series = torch.ones_like(x)
    for k in range(8, 0, -1):
        series = 1 - small / (2 * k * (2 * k + 1)) * series
    large = torch.where(is_small, torch.ones_like(x), x)
    return torch.where(is_small, series, large.sin() / large)


def _check_cutoff(cutoff: float) -> None:
    if not 0 < cutoff < math.inf:
        raise InputError(f"cutoff must be a positive distance in Å, got {cutoff}")
