"""Two normal distributions fitted to a histogram."""

import math
from typing import NamedTuple

import numpy as np


class Normal(NamedTuple):
    """A normal distribution, and its weight in a mixture."""

    mean: float
    std: float
    weight: float = 1.0


def _density(x: np.ndarray, normal: Normal) -> np.ndarray:
    scaled = (x - normal.mean) / normal.std
    return normal.weight * np.exp(-(scaled**2) / 2) / (normal.std * math.sqrt(2 * math.pi))


def log_likelihood(x: np.ndarray, counts: np.ndarray, parts: tuple[Normal, ...]) -> float:
    """Σ counts · ln density, of a histogram with bins around x; 0 where a normal has no width."""
    if any(part.std == 0 for part in parts):
        return 0.0
    density = sum(_density(x, part) for part in parts)
    return float((counts * np.log(np.maximum(density, 1e-300))).sum())


def fit_mixture(
    x: np.ndarray, counts: np.ndarray, normal: Normal, least: float, steps: int = 500
) -> tuple[Normal, Normal]:
    """Expectation maximization on a histogram, from apart and from around each other.

    No normal becomes narrower than a bin, which would fit a single number.
    """
    if normal.std == 0:
        return normal._replace(weight=0.5), normal._replace(weight=0.5)
    starts = [
        (Normal(normal.mean - normal.std, normal.std / 2, 0.5),
         Normal(normal.mean + normal.std, normal.std / 2, 0.5)),
        (Normal(normal.mean, normal.std / 2, 0.5), Normal(normal.mean, 1.5 * normal.std, 0.5)),
    ]  # fmt: skip
    fits = []
    for pair in starts:
        for _ in range(steps):
            density = np.array([_density(x, part) for part in pair]) + 1e-300
            weights = counts * density / density.sum(0)
            pair = tuple(_weighted(x, w, counts.sum(), least) for w in weights)
        fits.append(pair)
    best = max(fits, key=lambda pair: log_likelihood(x, counts, pair))
    return tuple(sorted(best))


def _weighted(x: np.ndarray, weights: np.ndarray, total: int, least: float) -> Normal:
    total_weight = weights.sum()
    mean = (weights * x).sum() / total_weight
    std = math.sqrt((weights * (x - mean) ** 2).sum() / total_weight)
    return Normal(float(mean), float(max(std, least)), float(total_weight / total))
