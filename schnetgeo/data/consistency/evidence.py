"""What energies change by between near frames, and what forces and stress say that they should."""

from typing import NamedTuple

import numpy as np

from schnetgeo.data.consistency.frames import Frames
from schnetgeo.data.consistency.pairs import nearest, steps


class Evidence(NamedTuple):
    """Pairs of near frames of all groups; numbers of structures are those of the data set."""

    first: np.ndarray  # (P,)
    second: np.ndarray
    distance: np.ndarray  # root mean square displacement, Å
    energy: np.ndarray  # change, eV
    work: np.ndarray  # of the forces, eV
    strain_work: np.ndarray  # of the stress, eV
    closure: np.ndarray  # work around a triangle over √3: the error of the trapezoidal rule, eV
    strain_closure: np.ndarray  # the same of the stress; right ones vanish together
    stiffness: np.ndarray  # eV/Å²
    opposition: np.ndarray  # cosine of what the forces change by, and the displacements back
    volume: np.ndarray  # Å³; 0 of molecules

    def select(self, chosen: np.ndarray) -> "Evidence":
        """Some of the pairs."""
        return Evidence(*(values[chosen] for values in self))


def gather(groups: list[Frames]) -> Evidence | None:
    """Each frame with its two nearest neighbors; `None` where there are no three frames."""
    parts = [_pairs(frames) for frames in groups if frames.size > 2]
    if not parts:
        return None
    return Evidence(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _pairs(frames: Frames) -> Evidence:
    near, every = nearest(frames), np.arange(frames.size)
    sides = [
        steps(frames, a, b)
        for a, b in ((every, near[:, 0]), (every, near[:, 1]), (near[:, 0], near[:, 1]))
    ]
    short, long, across = sides
    closure = (short.work + across.work - long.work) / np.sqrt(3)
    strain = (short.strain_work + across.strain_work - long.strain_work) / np.sqrt(3)
    volume = np.zeros(frames.size) if frames.cell is None else np.abs(np.linalg.det(frames.cell))
    pairs = [
        Evidence(
            frames.index[side.first], frames.index[side.second], side.distance, side.energy,
            side.work, side.strain_work, closure, strain, side.stiffness, side.opposition, volume,
        )
        for side in sides[:2]
    ]  # fmt: skip
    return Evidence(*(np.concatenate(values) for values in zip(*pairs, strict=True)))


def spread(values: np.ndarray) -> float:
    """A standard deviation that outliers do not change: 1.48 times the median of |x|."""
    return 1.4826 * float(np.median(np.abs(values))) if len(values) else 0.0


def slope(y: np.ndarray, x: np.ndarray) -> float:
    """S of y = s x: the median of y / x, weighted by |x|."""
    ratio, weight = y / np.where(x == 0, 1.0, x), np.abs(x)
    order = np.argsort(ratio)
    total = np.cumsum(weight[order])
    if not len(total) or total[-1] == 0:
        return 0.0
    return float(ratio[order][np.searchsorted(total, total[-1] / 2)])


def two_slopes(y: np.ndarray, x: np.ndarray, z: np.ndarray) -> tuple[float, float]:
    """S and t of y = s x + t z with the least sum of |y − s x − t z|, by reweighted squares."""
    columns, weights = np.stack([x, z], 1), np.ones(len(y))
    least = 1e-4 * spread(y) + 1e-12
    for _ in range(50):
        root = np.sqrt(weights)
        both = np.linalg.lstsq(columns * root[:, None], y * root, rcond=None)[0]
        weights = 1 / np.maximum(np.abs(y - columns @ both), least)
    return float(both[0]), float(both[1])
