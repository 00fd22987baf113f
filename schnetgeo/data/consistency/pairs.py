"""Pairs of near frames, and the work of forces and stress between them."""

from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from schnetgeo.data.consistency.frames import Frames


class Steps(NamedTuple):
    """From one frame to another, each in a pair of frames."""

    first: np.ndarray  # (P,) among the frames
    second: np.ndarray
    distance: np.ndarray  # root mean square displacement of the atoms, by strain too, Å
    energy: np.ndarray  # E_b − E_a, eV
    work: np.ndarray  # −½ Σ (F_a + F_b)·d, eV
    strain_work: np.ndarray  # ½ (V_a σ_a + V_b σ_b):ε, eV; 0 without stress
    stiffness: np.ndarray  # (F_a − F_b)·d / |d|², eV/Å²
    opposition: np.ndarray  # cosine of F_a − F_b and d


def nearest(frames: Frames, number: int = 2) -> np.ndarray:
    """The nearest other frames of each, (n, number), turned, shifted and mirrored as is best."""
    number = min(number, frames.size - 1)
    if frames.cell is None:
        i, j = np.triu_indices(frames.pos.shape[1], 1)
        marks = np.linalg.norm(frames.pos[:, i] - frames.pos[:, j], axis=2)
        neighbors = cKDTree(marks).query(marks, k=number + 1)[1]
        itself = np.arange(frames.size)[:, None]
        # a copy may stand before the frame itself
        order = np.argsort(neighbors == itself, axis=1, kind="stable")
        return np.take_along_axis(neighbors, order, 1)[:, :number]
    out, places = np.empty((frames.size, number), int), _fractional(frames)
    for k in range(frames.size):
        shift, strain = _crystal_step(frames, places, [k], slice(None))
        far = _distance(shift, strain, frames.cell[[k]])
        far[k] = np.inf
        out[k] = np.argpartition(far, number - 1)[:number] if number < len(far) else far.argsort()
    return out


def steps(frames: Frames, first: np.ndarray, second: np.ndarray) -> Steps:
    """Energy and work from the first to the second frame of each pair, by the trapezoidal rule.

    W = −½ Σ_i (F_a + F_b)·d_i + ½ (V_a σ_a + V_b σ_b):ε

    with displacements d_i within the cell, after molecules are turned onto each other, and the
    strain ε of the cells relative to their mean.
    """
    before = frames.forces[first]
    if frames.cell is None:
        turn = _turns(frames.pos[first], frames.pos[second])
        shift = _centered(frames.pos[second]) @ turn - _centered(frames.pos[first])
        after, strain = frames.forces[second] @ turn, np.zeros((len(first), 3, 3))
    else:
        shift, strain = _crystal_step(frames, _fractional(frames), first, second)
        after = frames.forces[second]
    squared = (shift**2).sum((1, 2))
    change = np.sqrt(((before - after) ** 2).sum((1, 2)))
    against = ((before - after) * shift).sum((1, 2))
    tension = np.zeros(len(first))
    if frames.stress is not None:
        volume = np.abs(np.linalg.det(frames.cell))[:, None, None]
        tension = 0.5 * (
            ((volume * frames.stress)[first] + (volume * frames.stress)[second]) * strain
        ).sum((1, 2))
        tension[(strain == 0).all((1, 2))] = 0.0  # where a stress may be missing
    return Steps(
        first,
        second,
        _distance(shift, strain, None if frames.cell is None else frames.cell[first]),
        frames.energy[second] - frames.energy[first],
        -0.5 * ((before + after) * shift).sum((1, 2)),
        tension,
        against / np.maximum(squared, 1e-12),
        against / np.maximum(change * np.sqrt(squared), 1e-12),
    )


def _distance(shift: np.ndarray, strain: np.ndarray, cell: np.ndarray | None) -> np.ndarray:
    """Root mean square displacement, with that of atoms anywhere in a cell that is strained."""
    squared = (shift**2).sum(2).mean(1)
    if cell is not None:
        edge = np.abs(np.linalg.det(cell)) ** (1 / 3)
        squared = squared + (strain**2).sum((1, 2)) * edge**2 / 12
    return np.sqrt(squared)


def _centered(pos: np.ndarray) -> np.ndarray:
    return pos - pos.mean(1, keepdims=True)


def _turns(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Rotations (P, 3, 3), or with a mirror image, that bring the second onto the first."""
    u, _, v = np.linalg.svd(_centered(second).transpose(0, 2, 1) @ _centered(first))
    return u @ v


def _fractional(frames: Frames) -> np.ndarray:
    return frames.pos @ np.linalg.inv(frames.cell)


def _crystal_step(
    frames: Frames, places: np.ndarray, first: np.ndarray, second: np.ndarray | slice
) -> tuple[np.ndarray, np.ndarray]:
    """Displacements (P, N, 3) within the mean of two cells, and strains (P, 3, 3) of these."""
    cell, step = frames.cell, places[second] - places[first]
    step -= np.round(step) * frames.pbc
    mean = 0.5 * (cell[first] + cell[second])
    shift = step @ mean
    strain = np.linalg.inv(mean) @ (cell[second] - cell[first])
    return shift - shift.mean(1, keepdims=True), strain
