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

    def std(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B"]:
        """Standard deviation of each prediction."""
        return embedding(features, self.factor).norm(dim=1)


def embedding(features: Float[Tensor, "B D"], factor: Float[Tensor, "D D"]) -> Float[Tensor, "B D"]:
    """Lᵀ f: the norm is the standard deviation of y; of a difference, that of y_a − y_b."""
    return features.double() @ factor


def fit_posterior(
    train: Float[Tensor, "B D"], val: Float[Tensor, "V D"], errors: Float[Tensor, "V"]
) -> Posterior:
    """The posterior of a last layer, with α and ς² from validation structures.

    Errors are taken as N(0, Var y). For each ς² of a grid α² = mean(error² / v), v the variance
    for α = 1. Of these the smallest ς² is taken whose likelihood is within a standard error of the
    largest: it tells most of structures unlike those of the training. Features in another unit, or
    rotated, give the same.

    Args:
        train: features f of the training structures, whose sum with weights is the prediction.
        val: those of other structures.
        errors: prediction less label of these, in the unit that the result has.

    Raises:
        InputError: for validation structures that are fewer than 10, or have no error at all.

    Source: Bigi, Chong, Ceriotti, Grasselli, Mach. Learn.: Sci. Technol. 5, 045018 (2024),
    arXiv:2403.02251; the choice of ς² is the one-standard-error rule of cross-validation.
    """
    check_errors(errors)
    train, val, square = train.double(), val.double(), errors.double().square()
    values, vectors = torch.linalg.eigh(train.T @ train)
    strengths = _STRENGTHS * values.mean()
    inverse = (values.clamp(min=0) + strengths.unsqueeze(1)).reciprocal()  # a row for each ς²
    variance = inverse @ (val @ vectors).square().T
    alpha = (square / variance).mean(1, keepdim=True)  # α²
    likelihood = -0.5 * ((alpha * variance).log() + square / (alpha * variance))
    chosen = _simplest(likelihood)
    return Posterior(vectors * (alpha[chosen] * inverse[chosen]).sqrt())


def _simplest(likelihood: Float[Tensor, "S V"]) -> int:
    """The first row whose mean is less than the largest by a standard error at most."""
    best = likelihood[likelihood.mean(1).argmax()]
    behind = best - likelihood
    error = behind.std(1) / behind.size(1) ** 0.5
    return int((behind.mean(1) <= error).nonzero()[0])


def check_errors(errors: Tensor) -> None:
    """Raise `InputError` unless there are enough errors to calibrate with."""
    if errors.shape[0] < 10:
        raise InputError(
            f"val has {errors.shape[0]} labeled structures, too few to calibrate an uncertainty; "
            "give 10 or more"
        )
    if not bool(errors.any()):
        raise InputError("every prediction on val equals its label; give structures not trained on")
