"""SchNet once more, in plain NumPy float64, atom by atom and edge by edge: a witness.

Written from the papers and from the table of implementations in FACTS.md, section 4.1. It shares
no line with schnetgeo, except that weights go by the names of its parameters.
"""

import itertools
from typing import NamedTuple

import numpy as np


class Variant(NamedTuple):
    """What tells one published SchNet from another."""

    channels: int
    num_layers: int
    centers: np.ndarray  # of the Gaussians, Å
    gamma: float  # exponent of the Gaussians, Å⁻²
    cutoff: float  # Å
    cosine_cutoff: bool  # filters end smoothly, instead of at once
    filter_last_activation: bool
    readout_channels: int
    readout_silu: bool  # SiLU instead of ssp


VARIANTS = {
    "paper2017": Variant(64, 3, np.linspace(0, 30, 300), 10.0, 30.0, False, True, 32, False),
    "jcp2018": Variant(64, 6, np.linspace(0, 20, 200), 10.0, 20.0, False, True, 32, False),
    "schnetpack": Variant(
        128, 6, np.linspace(0, 5, 20), 0.5 / (5 / 19) ** 2, 5.0, True, False, 64, True
    ),
    "pyg": Variant(
        128, 6, np.linspace(0, 10, 50), 0.5 / (10 / 49) ** 2, 10.0, True, False, 64, False
    ),
    "torchmd_gn": Variant(
        128, 6, np.linspace(0, 5, 50), 0.5 / (5 / 49) ** 2, 5.0, True, False, 64, False
    ),
}


def energy(
    weights: dict[str, np.ndarray],
    variant: Variant,
    numbers: np.ndarray,
    positions: np.ndarray,
    cell: np.ndarray | None = None,
    pbc: tuple[bool, bool, bool] = (False, False, False),
) -> float:
    """Energy of one molecule or crystal."""
    edges = list(_edges(positions, cell, pbc, variant.cutoff))
    x = [weights["embedding.weight"][z] for z in numbers]
    for layer in range(variant.num_layers):
        prefix = f"interactions.{layer}"
        y = [_dense(weights, f"{prefix}.lin1", x_i) for x_i in x]
        sums = [np.zeros(variant.channels) for _ in x]
        for i, j, distance in edges:
            sums[i] += y[j] * _filter(weights, f"{prefix}.conv.filter", variant, distance)
        for i, total in enumerate(sums):
            hidden = _ssp(_dense(weights, f"{prefix}.lin2", total))
            x[i] = x[i] + _dense(weights, f"{prefix}.lin3", hidden)
    return sum(_readout(weights, variant, x_i) for x_i in x)


def _edges(positions, cell, pbc, cutoff):
    """Every i, j, |r_j + image − r_i| below the cutoff, an atom with itself left out."""
    cell = np.zeros((3, 3)) if cell is None else cell
    reach = [0, 0, 0]
    if any(pbc):
        heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        extent = np.ptp(positions @ np.linalg.inv(cell), axis=0)
        reach = [
            int(np.ceil(cutoff / h + e)) if p else 0
            for h, e, p in zip(heights, extent, pbc, strict=True)
        ]
    images = list(itertools.product(*(range(-n, n + 1) for n in reach)))
    for i, j in itertools.product(range(len(positions)), repeat=2):
        for image in images:
            distance = np.linalg.norm(positions[j] + np.array(image) @ cell - positions[i])
            if distance < cutoff and not (i == j and image == (0, 0, 0)):
                yield i, j, distance


def _filter(weights, prefix, variant, distance):
    gaussians = np.exp(-variant.gamma * (distance - variant.centers) ** 2)
    out = _dense(weights, f"{prefix}.2", _ssp(_dense(weights, f"{prefix}.0", gaussians)))
    if variant.filter_last_activation:
        out = _ssp(out)
    if variant.cosine_cutoff:
        out = out * 0.5 * (np.cos(np.pi * distance / variant.cutoff) + 1)
    return out


def _readout(weights, variant, x):
    hidden = _dense(weights, "readout.lin1", x)
    assert len(hidden) == variant.readout_channels
    hidden = hidden / (1 + np.exp(-hidden)) if variant.readout_silu else _ssp(hidden)
    return _dense(weights, "readout.lin2", hidden)[0]


def _dense(weights, name, x):
    return weights[f"{name}.weight"] @ x + weights.get(f"{name}.bias", 0.0)


def _ssp(x):
    return np.logaddexp(x, 0.0) - np.log(2.0)
