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
    stiffness: np.ndarray  # eV/Å²
    volume: np.ndarray  # Å³; 0 of molecules

    def select(self, chosen: np.ndarray) -> "Evidence":
        """Some of the pairs."""
        return Evidence(*(values[chosen] for values in self))


def gather(groups: list[Frames]) -> Evidence | None:
    """Each frame with its two nearest neighbors; `None` where there are no three frames."""
    parts = [_pairs(frames) for frames in groups if len(frames) > 2]
    if not parts:
        return None
    return Evidence(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _pairs(frames: Frames) -> Evidence:
    near, own = nearest(frames), np.arange(len(frames))
    sides = [
        steps(frames, a, b)
        for a, b in ((own, near[:, 0]), (own, near[:, 1]), (near[:, 0], near[:, 1]))
    ]
    short, long, across = (side.work + side.strain_work for side in sides)
    closure = (short + across - long) / np.sqrt(3)
    volume = np.zeros(len(frames)) if frames.cell is None else np.abs(np.linalg.det(frames.cell))
    pairs = [
        Evidence(
            frames.index[side.first], frames.index[side.second], side.distance, side.energy,
            side.work, side.strain_work, closure, side.stiffness, volume,
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
