"""What a prediction says of its own errors."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from schnetgeo.errors import InputError

_ROUNDING = 1e-6  # of the norms of points


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Standard deviations of a prediction.

    Each structure is a point: its norm is the standard deviation of the energy, and the distance
    of two points that of the difference of their energies.
    """

    points: Float[Tensor, "B D"]  # eV
    forces: Float[Tensor, "N 3"] | None = None  # of each component, eV/Å

    @property
    def energy(self) -> Float[Tensor, "B"]:
        """Of each energy, eV."""
        return self.points.norm(dim=1)


def select(
    points: Float[Tensor, "B D"], number: int, min_distance: float = 0.1
) -> Int[Tensor, "S"]:
    """Indices of the most uncertain structures that are no copies of each other, in that order.

    Args:
        points: of `Uncertainty`.
        number: how many; fewer come where the others are copies.
        min_distance: structures whose points are nearer than this are copies: once the model knew
            one it would know the other. As a part of the root mean square distance of all points
            from their mean.

    Raises:
        InputError: for a number below 1 or a distance below 0.
    """
    if number < 1:
        raise InputError(f"num must be 1 or more, got {number}")
    if not 0 <= min_distance < math.inf:
        raise InputError(f"min_distance must be 0 or larger, got {min_distance:g}")
    norms = points.norm(dim=1)
    spread = (points - points.mean(0)).square().sum(1).mean().sqrt()
    nearest = torch.maximum(min_distance * spread, _ROUNDING * norms)
    is_free = norms.isfinite() & (norms > 0)
    chosen: list[int] = []
    for index in norms.argsort(descending=True, stable=True).tolist():
        if len(chosen) == number:
            break
        if is_free[index]:
            chosen.append(index)
            is_free &= (points - points[index]).norm(dim=1) > nearest
    return torch.tensor(chosen, dtype=torch.long)
