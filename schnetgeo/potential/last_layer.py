"""Variance of a prediction from the last layer of a model."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from schnetgeo.errors import InputError

_STRENGTHS = torch.logspace(-12, 2, 29, dtype=torch.float64)  # of ς², mean eigenvalues of FᵀF


class Posterior(NamedTuple):
    """Var y = α² fᵀ (FᵀF + ς² I)⁻¹ f = |Lᵀ f|² for y = w · f, with the rows f of F in training."""

    factor: Float[Tensor, "D D"]  # L
    log_likelihood: float  # mean over the validation structures, without ½ ln 2π

    def std(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B"]:
        """Standard deviation of each prediction."""
        return embedding(features, self.factor).norm(dim=1)


def embedding(features: Float[Tensor, "B D"], factor: Float[Tensor, "D D"]) -> Float[Tensor, "B D"]:
    """Lᵀ f: the norm is the standard deviation of y; of a difference, that of y_a − y_b."""
    return features.double() @ factor


def fit_posterior(
    train: Float[Tensor, "B D"], val: Float[Tensor, "V D"], errors: Float[Tensor, "V"]
) -> Posterior:
    """The posterior of a last layer, α and ς² of the largest likelihood on validation structures.

    The likelihood is that of errors ~ N(0, Var y); for each ς² of a grid α² = mean(error² / v), v
    the variance for α = 1. The same for features in another unit, or rotated.

    Args:
        train: features f of the training structures, whose sum with weights is the prediction.
        val: those of other structures.
        errors: prediction less label of these, in the unit that the result has.

    Raises:
        InputError: for validation structures that are fewer than 10, or have no error at all.

    Source: Bigi, Chong, Ceriotti, Grasselli, Mach. Learn.: Sci. Technol. 5, 045018 (2024),
    arXiv:2403.02251.
    """
    check_errors(errors)
    train, val, square = train.double(), val.double(), errors.double().square()
    values, vectors = torch.linalg.eigh(train.T @ train)
    values = values.clamp(min=0)
    rotated, best = (val @ vectors).square(), None
    for strength in _STRENGTHS * values.mean():
        variance = rotated @ (values + strength).reciprocal()
        alpha = (square / variance).mean()
        likelihood = -0.5 * float((alpha * variance).log().mean() + 1)
        if best is None or likelihood > best.log_likelihood:
            scale = (alpha / (values + strength)).sqrt()
            best = Posterior(vectors * scale, likelihood)
    return best


def check_errors(errors: Tensor) -> None:
    """Raise `InputError` unless there are enough errors to calibrate with."""
    if errors.shape[0] < 10:
        raise InputError(
            f"val has {errors.shape[0]} labeled structures, too few to calibrate an uncertainty; "
            "give 10 or more"
        )
    if not bool(errors.any()):
        raise InputError("every prediction on val equals its label; give structures not trained on")
