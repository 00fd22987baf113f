"""A frozen SchNet and one small structure in one compiled call: energies, slopes, forces."""

from typing import NamedTuple

import numpy as np

from schnetgeo.nn.whole import Graph, Tape, energies, slopes
from schnetgeo.ops.cpu import add_b_spline_slope, b_spline
from schnetgeo.ops.dense import set_rows
from schnetgeo.ops.jit import serial


class Molecule(NamedTuple):
    """Atoms and sorted edges j → i."""

    pos: np.ndarray  # (N, 3) float64
    source: np.ndarray  # (E,)
    start: np.ndarray  # (N + 1,)
    reverse: np.ndarray  # (E,)
    offset: np.ndarray  # (E, 3) lattice vectors in Å, or (0, 3) where there are none
    share: np.ndarray  # (N,) what each atom's energy counts


class Result(NamedTuple):
    """Of N atoms and E edges."""

    y: np.ndarray  # (N,) energies
    forces: np.ndarray  # (N, 3)
    slope: np.ndarray  # (E,) ∂(Σ share y)/∂r of each edge
    unit: np.ndarray  # (E, 3) vectors from target to source
    distance: np.ndarray  # (E,)


@serial
def evaluate(molecule, x, weights, silu, cutoff, spacing):
    """A `Result`, from embedded atoms x (N, F), and tables of f · W from knot −1 on."""
    atoms, edges = x.shape[0], molecule.source.shape[0]
    layers, channels = weights.b1.shape
    tape = Tape(  # as `Tape.empty`, which compiled code cannot call
        np.empty((layers + 1, atoms, channels), x.dtype),
        np.empty((8, layers, atoms, channels), x.dtype),
        np.empty((4, atoms, weights.s1.shape[0]), x.dtype),
        np.empty(atoms, x.dtype),
        np.zeros(edges, x.dtype),
    )
    set_rows(x, tape.x[0])
    graph = Graph(
        molecule.source, molecule.start, molecule.reverse, np.empty(edges, np.int64),
        np.empty((edges, 4), x.dtype), np.empty((edges, 4), x.dtype), molecule.share,
    )  # fmt: skip
    unit, distance = np.empty((edges, 3), x.dtype), np.empty(edges, x.dtype)
    _place(molecule, graph, unit, distance, weights.tables.shape[1] - 4, cutoff, spacing)
    energies(weights, graph, tape, (0, atoms), silu)
    slopes(weights, graph, tape, (0, atoms))
    forces = np.zeros((atoms, 3), x.dtype)
    for i in range(atoms):
        for e in range(molecule.start[i], molecule.start[i + 1]):
            both = tape.slope[e] + tape.slope[molecule.reverse[e]]
            for k in range(3):
                forces[i, k] += both * unit[e, k]
    return Result(tape.y, forces, tape.slope, unit, distance)


@serial
def _place(molecule, graph, unit, distance, last, cutoff, spacing):
    """Distances and directions, and their places on the knots."""
    number = distance.dtype.type
    one, h = number(1), number(1 / spacing)
    for i in range(molecule.start.shape[0] - 1):
        for e in range(molecule.start[i], molecule.start[i + 1]):
            j = molecule.source[e]
            dx = molecule.pos[j, 0] - molecule.pos[i, 0]
            dy = molecule.pos[j, 1] - molecule.pos[i, 1]
            dz = molecule.pos[j, 2] - molecule.pos[i, 2]
            if molecule.offset.shape[0]:
                dx += molecule.offset[e, 0]
                dy += molecule.offset[e, 1]
                dz += molecule.offset[e, 2]
            r = np.sqrt(dx * dx + dy * dy + dz * dz)
            distance[e] = r
            inverse = 1 / max(r, 1e-10)
            unit[e, 0], unit[e, 1], unit[e, 2] = dx * inverse, dy * inverse, dz * inverse
            w, d = graph.weights[e], graph.slopes[e]
            if not r < cutoff:
                graph.interval[e] = 0
                w[:] = 0 * r  # NaN where a position is
                d[:] = 0 * r
                continue
            u = r / spacing
            k = min(int(u), last)
            graph.interval[e] = k
            d[:] = 0
            b_spline(number(u - k), one, w)
            add_b_spline_slope(number(u - k), h, d)
