"""Forces on a whole structure, and forces that constraints have removed."""

from collections.abc import Iterator

import numpy as np

from schnetgeo.data.consistency.frames import Frames
from schnetgeo.data.consistency.report import Finding, indices

NET = 0.1  # |Σ F| / √(Σ |F|²); uncorrelated forces have 1
TORQUE = 0.1  # |Σ r × F| / √(Σ |r|² |F|²)
_BALANCED = 0.02  # of the same; what rounding to three decimals leaves of weak forces
_WEAK = 1e-3  # eV/Å; below are those of minima


def balance(frames: Frames) -> tuple[np.ndarray, np.ndarray]:
    """Net force and, of molecules, net torque of each frame, relative to uncorrelated ones."""
    size = np.maximum(np.sqrt((frames.forces**2).sum((1, 2))), 1e-12)
    net = np.linalg.norm(frames.forces.sum(1), axis=1) / size
    strong = size > _WEAK * np.sqrt(len(frames.z))
    net = np.where(strong, net, 0.0)
    if frames.cell is not None or len(frames.z) < 3:
        return net, np.zeros(frames.size)
    arm = frames.pos - frames.pos.mean(1, keepdims=True)
    lengths = np.linalg.norm(arm, axis=2) * np.linalg.norm(frames.forces, axis=2)
    torque = np.linalg.norm(np.cross(arm, frames.forces).sum(1), axis=1)
    return net, np.where(strong, torque / np.maximum(np.sqrt((lengths**2).sum(1)), 1e-12), 0.0)


def balance_findings(groups: list[Frames]) -> Iterator[Finding]:
    """Frames whose forces push or turn the whole structure."""
    free = [frames for frames in groups if not zero_atoms(frames).any()]
    if not free:
        return
    index = np.concatenate([frames.index for frames in free])
    net, torque = (np.concatenate(v) for v in zip(*map(balance, free), strict=True))
    pushed, turned = net > NET, (torque > TORQUE) & (net <= NET)
    if pushed.any():
        yield Finding(
            "forces",
            f"they push the whole structure: |Σ F| is {np.median(net[pushed]):.2g} of √(Σ |F|²)",
            "forces of constrained or of other atoms, an external field, or rows that are missing",
            indices(pushed, index),
        )
    if turned.any():
        yield Finding(
            "forces",
            "they turn the whole molecule: |Σ r × F| is "
            f"{np.median(torque[turned]):.2g} of √(Σ |r|² |F|²)",
            "the atoms of forces and positions are in another order, or one of them is rotated",
            indices(turned, index),
        )


def zero_atoms(frames: Frames) -> np.ndarray:
    """Atoms (N,) without any force in nearly all frames in which other atoms have some.

    Forces that vanish by symmetry are none of these: those of the other atoms add up to zero.
    """
    zero = (frames.forces == 0).all(2)
    moving = ~zero.all(1)
    if moving.sum() < 3 or np.median(balance(frames)[0][moving]) < _BALANCED:
        return np.zeros(len(frames.z), bool)
    return zero[moving].mean(0) > 0.9


def constraint_findings(groups: list[Frames]) -> Iterator[Finding]:
    """Groups in which some atoms never have a force."""
    for frames in groups:
        zero = zero_atoms(frames)
        if zero.any():
            yield Finding(
                "forces",
                f"atoms {', '.join(map(str, np.flatnonzero(zero)[:8]))} have none at all, "
                f"{zero.sum()} of {len(zero)}",
                "constraints set them to zero; get the forces without constraints "
                "(atoms.get_forces(apply_constraint=False))",
                tuple(frames.index.tolist()),
            )
