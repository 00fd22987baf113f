"""Energies and forces of a program with constant tables, from positions, in one compiled call."""

from typing import NamedTuple

import numpy as np

from schnetgeo.engine.numba.blocks import Blocks
from schnetgeo.engine.numba.interpreter import forward_block, numbers_of, transpose_block
from schnetgeo.engine.numba.passes import copy_results
from schnetgeo.engine.numba.views import view
from schnetgeo.ops.jit import inner, serial, standalone
from schnetgeo.ops.numba_backend import add_b_spline_slope, b_spline

_SMALLEST = 1e-10  # Å, below which an edge has no direction


class Structures(NamedTuple):
    """Atoms and sorted edges j → i."""

    z: np.ndarray  # (N,)
    pos: np.ndarray  # (N, 3) float64
    offset: np.ndarray  # (E, 3) lattice vectors in Å, or (0, 3) where there are none
    atom_weights: np.ndarray  # (N,) what an atom counts in the result of its structure
    atomic_references: np.ndarray  # (Z,) float64, eV
    blocks: Blocks


class Scales(NamedTuple):
    """Numbers that results depend on."""

    energy: float  # what the program's result is multiplied by, eV
    cutoff: float  # Å
    spacing: float  # of the knots, the first of which is −1, Å


class Results(NamedTuple):
    """Where energies (B,), forces (N, 3) and ∂E/∂strain (B, 3, 3) are added up."""

    energy: np.ndarray  # float64
    forces: np.ndarray
    virial: np.ndarray
    values: np.ndarray  # of the atoms, (N, components, channels) of one result after the other


@serial
def predict_blocks(
    model, outputs, energy_register, width, structures, edges, scales, tape, radial, angular,
    distance, results, first, last,
):  # fmt: skip
    """Results of some blocks.

    Args:
        model: a program with tables of f(r) W(r) on knots from −1 on.
        outputs, energy_register: its results, and that of the energy, −1 for none.
        width: numbers per atom on the tape.
        structures, scales: see there.
        edges: `EdgeArrays`, whose weights, derivatives and units are written.
        tape, radial, angular, distance: memory, the middle two 0.
        results: added to.
        first, last: blocks.
    """
    ptr, starts, dtype = structures.blocks.ptr, structures.blocks.first, tape.dtype
    inputs = np.empty((0, 0), dtype)
    for block in range(first, last):
        atoms = ptr[starts[block]], ptr[starts[block + 1]]
        n = atoms[1] - atoms[0]
        own = view(tape, atoms[0] * width, (n * width,))
        _place(structures, edges, distance, scales, model.knots, atoms)
        forward_block(model, edges, structures.z, inputs, own, atoms)
        copy_results(model, outputs, own, atoms, structures.z.shape[0], results.values)
        if energy_register < 0:
            continue
        register = model.registers[energy_register]
        y = numbers_of(own, register.value, register, n)
        for b in range(starts[block], starts[block + 1]):
            for i in range(ptr[b], ptr[b + 1]):
                value = scales.energy * y[i - atoms[0]]
                value += structures.atomic_references[structures.z[i]]
                results.energy[b] += structures.atom_weights[i] * value
        if not register.moves:
            continue
        adjoint = numbers_of(own, register.adjoint, register, n)
        for i in range(n):
            adjoint[i] = scales.energy * structures.atom_weights[atoms[0] + i]
        transpose_block(model, edges, own, atoms, radial, angular)
        for b in range(starts[block], starts[block + 1]):
            _add_forces(edges, radial, angular, distance, results, b, (ptr[b], ptr[b + 1]))


@standalone
def _place(structures, edges, distance, scales, knots, atoms):
    """Lengths and directions of the edges of a block, and the weights of the knots."""
    dtype, pos = distance.dtype.type, structures.pos
    one, per_spacing = dtype(1), dtype(1 / scales.spacing)
    for i in range(atoms[0], atoms[1]):
        for e in range(edges.row_pointers[i], edges.row_pointers[i + 1]):
            j = edges.source[e]
            x, y, z = pos[j, 0] - pos[i, 0], pos[j, 1] - pos[i, 1], pos[j, 2] - pos[i, 2]
            if structures.offset.shape[0]:
                x += structures.offset[e, 0]
                y += structures.offset[e, 1]
                z += structures.offset[e, 2]
            r = np.sqrt(x * x + y * y + z * z)
            distance[e] = r
            inverse, unit = 1 / max(r, _SMALLEST), edges.unit[e]
            unit[0], unit[1], unit[2] = x * inverse, y * inverse, z * inverse
            w, d = edges.weights[e], edges.derivatives[e]
            edges.interval[e] = 0
            for q in range(4):
                w[q] = 0 * r  # NaN where a position is
                d[q] = 0 * r
            if r < scales.cutoff:
                u = r / scales.spacing
                k = min(int(u), knots - 4)
                edges.interval[e] = k
                b_spline(dtype(u - k), one, w)
                add_b_spline_slope(dtype(u - k), per_spacing, d)


@inner
def _edge_force(edges, radial, angular, distance, e, c):
    """A component of ∂E/∂r⃗_e = S u + (D − u (u·D)) / r."""
    unit, force = edges.unit[e], radial[e] * edges.unit[e, c]
    if angular.shape[0]:
        along = unit[0] * angular[e, 0] + unit[1] * angular[e, 1] + unit[2] * angular[e, 2]
        force += (angular[e, c] - along * unit[c]) / max(distance[e], distance.dtype.type(1e-10))
    return force


@standalone
def _add_forces(edges, radial, angular, distance, results, b, atoms):
    with_virial = results.virial.shape[0] > 0
    for i in range(atoms[0], atoms[1]):
        for e in range(edges.row_pointers[i], edges.row_pointers[i + 1]):
            if e > edges.reverse[e]:
                continue
            j = edges.source[e]
            for c in range(3):
                force = _edge_force(edges, radial, angular, distance, e, c)
                results.forces[i, c] += force
                results.forces[j, c] -= force
                if with_virial:
                    for d in range(3):
                        results.virial[b, c, d] += force * edges.unit[e, d] * distance[e]
