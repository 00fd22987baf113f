"""Forces and ∂E/∂strain from gradients of an energy along edges, and their adjoints, compiled.

The gradient for the vector of an edge is g_e = S u_e + (D − u_e (u_e·D)) / r_e, with S = ∂E/∂r_e
and D = ∂E/∂u_e, which the first edge of each pair has for both.
"""

from typing import NamedTuple

import numpy as np

from schnetgeo.engine.numba.blocks import Blocks
from schnetgeo.engine.numba.structures import SMALLEST
from schnetgeo.ops.jit import inner, serial


class Derivatives(NamedTuple):
    """Where forces (N, 3) and ∂E/∂strain (B, 3, 3) are added up."""

    forces: np.ndarray  # or (0, 3)
    virial: np.ndarray  # or (0, 3, 3)

    @classmethod
    def zeros(cls, blocks: Blocks, dtype, forces: bool, stress: bool) -> "Derivatives":
        """Nothing yet."""
        atoms, structures = blocks.ptr[-1] * forces, (len(blocks.ptr) - 1) * stress
        return cls(np.zeros((atoms, 3), dtype), np.zeros((structures, 3, 3), dtype))


@serial
def add_derivatives(batch, scale, radial, angular, derivatives, first, last):
    """Add forces and virials of some structures.

    Args:
        batch: `executor.Batch`.
        scale: what gradients are multiplied by.
        radial, angular: S (E,) and D, (E, 3) or (0, 3).
        derivatives: `Derivatives`.
        first, last: structures.
    """
    edges, ptr, factor = batch.edges, batch.blocks.ptr, radial.dtype.type(scale)
    forces, virial = derivatives.forces, derivatives.virial
    for b in range(first, last):
        for i in range(ptr[b], ptr[b + 1]):
            for e in range(edges.row_pointers[i], edges.row_pointers[i + 1]):
                if e > edges.reverse[e]:
                    continue
                j, unit = edges.source[e], edges.unit[e]
                for c in range(3):
                    g = factor * _edge_gradient(unit, batch.distance[e], radial, angular, e, c)
                    if forces.shape[0]:
                        forces[i, c] += g
                        forces[j, c] -= g
                    if virial.shape[0]:
                        for d in range(3):
                            virial[b, c, d] += g * unit[d] * batch.distance[e]


@inner
def _edge_gradient(unit, distance, radial, angular, e, c):
    """A component of g_e."""
    gradient, smallest = radial[e] * unit[c], radial.dtype.type(SMALLEST)
    if angular.shape[0]:
        along = unit[0] * angular[e, 0] + unit[1] * angular[e, 1] + unit[2] * angular[e, 2]
        gradient += (angular[e, c] - along * unit[c]) / max(distance, smallest)
    return gradient


@serial
def edge_bars(batch, scale, force_bar, virial_bar, radial_bar, angular_bar):
    """Write ∂L/∂S and ∂L/∂D of the first edge of each pair, 0 for the other.

    Args:
        batch, scale: as for `add_derivatives`.
        force_bar, virial_bar: ∂L/∂ forces (N, 3) and ∂L/∂ virial (B, 3, 3), or none of them.
        radial_bar, angular_bar: (E,), and (E, 3) or (0, 3).
    """
    edges, ptr = batch.edges, batch.blocks.ptr
    dtype = radial_bar.dtype.type
    factor, smallest = dtype(scale), dtype(SMALLEST)
    for b in range(ptr.shape[0] - 1):
        for i in range(ptr[b], ptr[b + 1]):
            for e in range(edges.row_pointers[i], edges.row_pointers[i + 1]):
                bar = _vector_bar(batch, force_bar, virial_bar, b, i, e, factor)
                unit = edges.unit[e]
                along = bar[0] * unit[0] + bar[1] * unit[1] + bar[2] * unit[2]
                radial_bar[e] = along
                if angular_bar.shape[0]:
                    inverse = 1 / max(batch.distance[e], smallest)
                    for c in range(3):
                        angular_bar[e, c] = (bar[c] - along * unit[c]) * inverse


@inner
def _vector_bar(batch, force_bar, virial_bar, b, i, e, factor):
    """∂L/∂g_e as three numbers, 0 at the second edge of a pair."""
    edges, zero = batch.edges, batch.distance.dtype.type(0)
    x, y, z = zero, zero, zero
    if e > edges.reverse[e]:
        return x, y, z
    j, unit, r = edges.source[e], edges.unit[e], batch.distance[e]
    if force_bar.shape[0]:
        x += factor * (force_bar[i, 0] - force_bar[j, 0])
        y += factor * (force_bar[i, 1] - force_bar[j, 1])
        z += factor * (force_bar[i, 2] - force_bar[j, 2])
    if virial_bar.shape[0]:
        for d in range(3):
            component = factor * r * unit[d]
            x += virial_bar[b, 0, d] * component
            y += virial_bar[b, 1, d] * component
            z += virial_bar[b, 2, d] * component
    return x, y, z
