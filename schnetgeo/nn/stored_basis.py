"""Radial basis functions whose centers and widths are stored with the weights.

Other packages round centers to float32, or train them; computed anew they would differ.
"""

import math
from typing import Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from schnetgeo.nn.configurable import Configurable


class _StoredBasis(Configurable):
    """What the bases share: tables that stay float64, as they were read, whatever the model's type.

    Args:
        num_basis: number K of functions.
    """

    def __init__(self, num_basis: int):
        super().__init__()
        self.num_basis = num_basis

    def _apply(self, fn, recurse=True):
        device = fn(torch.empty(0)).device
        for name, table in self._buffers.items():
            self._buffers[name] = table.to("cpu" if device.type == "mps" else device)
        return self

    def extra_repr(self) -> str:
        return f"num_basis={self.num_basis}"


class StoredGaussianBasis(_StoredBasis):
    """Gaussians e_k(r) = exp(−γ_k (r − μ_k)²) with centers μ_k in Å and exponents γ_k in Å⁻².

    `of` builds it from these; as built by its class alone all are 0.
    """

    centers: Tensor
    exponents: Tensor

    def __init__(self, num_basis: int):
        super().__init__(num_basis)
        self.register_buffer("centers", torch.zeros(num_basis, dtype=torch.float64))
        self.register_buffer("exponents", torch.zeros(num_basis, dtype=torch.float64))

    @classmethod
    def of(cls, centers: Float[Tensor, "K"], exponents: Float[Tensor, "K"] | float) -> Self:
        """The basis of these centers and exponents."""
        basis = cls(len(centers))
        basis.centers.copy_(centers.detach())
        basis.exponents.copy_(torch.as_tensor(exponents, dtype=torch.float64).detach())
        return basis

    def forward(self, distance: Float[Tensor, "E"]) -> Float[Tensor, "E K"]:
        centers, exponents = self.centers.to(distance), self.exponents.to(distance)
        exponent = -exponents * (distance.unsqueeze(-1) - centers).square()
        return torch.exp(F.threshold(exponent, -60.0, -math.inf))  # as in GaussianBasis


class StoredBesselBasis(_StoredBasis):
    """Bessel functions e_n(r) = sin(k_n r) / r with wave numbers k_n in Å⁻¹, as in SchNetPack."""

    wave_numbers: Tensor

    def __init__(self, num_basis: int):
        super().__init__(num_basis)
        self.register_buffer("wave_numbers", torch.zeros(num_basis, dtype=torch.float64))

    @classmethod
    def of(cls, wave_numbers: Float[Tensor, "K"]) -> Self:
        """The basis of these wave numbers."""
        basis = cls(len(wave_numbers))
        basis.wave_numbers.copy_(wave_numbers.detach())
        return basis

    def forward(self, distance: Float[Tensor, "E"]) -> Float[Tensor, "E K"]:
        k = self.wave_numbers.to(distance)
        return k * torch.sinc(distance.unsqueeze(-1) * k / math.pi)


class ExpNormalBasis(_StoredBasis):
    """e_k(r) = f(r) exp(−β_k (exp(−α r) − μ_k)²) with α = 5 / r_c and the cosine cutoff f.

    Args:
        num_basis: number K of functions.
        cutoff: r_c in Å.

    Source: Unke, Meuwly, J. Chem. Theory Comput. 15, 3678 (2019), as in TorchMD-Net.
    """

    means: Tensor
    betas: Tensor

    def __init__(self, num_basis: int, cutoff: float):
        super().__init__(num_basis)
        self.cutoff = cutoff
        self.register_buffer("means", torch.zeros(num_basis, dtype=torch.float64))
        self.register_buffer("betas", torch.zeros(num_basis, dtype=torch.float64))

    @classmethod
    def of(cls, means: Float[Tensor, "K"], betas: Float[Tensor, "K"], cutoff: float) -> Self:
        """The basis of these means and exponents."""
        basis = cls(len(means), cutoff)
        basis.means.copy_(means.detach())
        basis.betas.copy_(betas.detach())
        return basis

    def forward(self, distance: Float[Tensor, "E"]) -> Float[Tensor, "E K"]:
        means, betas = self.means.to(distance), self.betas.to(distance)
        r = distance.unsqueeze(-1)
        inside = 0.5 * (torch.cos(r * (math.pi / self.cutoff)) + 1)
        return inside * torch.exp(-betas * (torch.exp(-5.0 / self.cutoff * r) - means).square())
