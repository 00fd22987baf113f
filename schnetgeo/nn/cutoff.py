"""Cutoff functions f(r), which weight every edge and are 0 from the cutoff on."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from schnetgeo.errors import InputError
from schnetgeo.nn.configurable import Configurable


class _CutoffFunction(Configurable):
    """What the cutoff functions share.

    Args:
        cutoff: r_c in Å.
    """

    def __init__(self, cutoff: float):
        super().__init__()
        self.cutoff = cutoff

    def extra_repr(self) -> str:
        return f"cutoff={self.cutoff:g} Å"


class CosineCutoff(_CutoffFunction):
    """f(r) = ½ (cos(π r / r_c) + 1) for r < r_c, and 0 at and beyond the cutoff r_c (Å)."""

    def forward(self, distance: Float[Tensor, "E"]) -> Float[Tensor, "E"]:
        inside = 0.5 * (torch.cos(distance * (math.pi / self.cutoff)) + 1)
        return inside * (distance < self.cutoff)


class StepCutoff(_CutoffFunction):
    """f(r) = 1 for r < r_c, and 0 at and beyond: the papers' molecules, where all pairs interact.

    Energies then jump where an edge appears or vanishes at the cutoff.
    """

    def forward(self, distance: Float[Tensor, "E"]) -> Float[Tensor, "E"]:
        return (distance < self.cutoff).to(distance.dtype)


class MollifierCutoff(_CutoffFunction):
    """f(r) = exp(1 − 1 / (1 − (r / r_c)²)) for r + ε < r_c, and 0 beyond; ε = 10⁻⁷ Å.

    All derivatives vanish at the cutoff. Source: SchNetPack.
    """

    def forward(self, distance: Float[Tensor, "E"]) -> Float[Tensor, "E"]:
        inside = distance + 1e-7 < self.cutoff
        d = torch.where(inside, distance, 0) / self.cutoff
        return torch.exp(1 - 1 / (1 - d.square())) * inside


class PolynomialCutoff(_CutoffFunction):
    """f(d) = 1 − (p+1)(p+2)/2 dᵖ + p(p+2) dᵖ⁺¹ − p(p+1)/2 dᵖ⁺² for d = r / r_c < 1, and 0 beyond.

    Value, slope and curvature vanish at the cutoff.

    Args:
        cutoff: r_c in Å.
        exponent: p; the larger, the longer f stays near 1.

    Source: Gasteiger, Groß, Günnemann, ICLR 2020, arXiv:2003.03123.
    """

    def __init__(self, cutoff: float, exponent: int = 6):
        super().__init__(cutoff)
        if exponent < 2:
            raise InputError(f"exponent must be at least 2 for smooth forces, got {exponent}")
        self.exponent = exponent

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, exponent={self.exponent}"

    def forward(self, distance: Float[Tensor, "E"]) -> Float[Tensor, "E"]:
        d, p = distance / self.cutoff, self.exponent
        inside = 1 - d**p * ((p + 1) * (p + 2) / 2 - d * (p * (p + 2) - d * (p * (p + 1) / 2)))
        return inside * (distance < self.cutoff)
