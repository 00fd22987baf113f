"""Energies and forces of a program with constant tables, in one compiled call."""

from typing import NamedTuple

import numpy as np

from schnetgeo.engine.numba.derivatives import add_derivatives
from schnetgeo.engine.numba.passes import forward_blocks
from schnetgeo.ops.compiled_bspline import add_b_spline_slope, b_spline
from schnetgeo.ops.jit import inner, serial


class Grid(NamedTuple):
    """Knots of constant tables f(r) W(r), the first of which is −1."""

    spacing: float  # Å
    cutoff: float  # Å


class EnergyScale(NamedTuple):
    """E = scale · y + Σ_i w_i e0[z_i] with the energy y of a program."""

    scale: float  # eV
    atomic_references: np.ndarray  # e0 (Z,), float64, eV


@serial
def predict_blocks(
    model, outputs, energy_register, width, batch, grid, energy_scale, tape, results, energy,
    derivatives, first, last,
):  # fmt: skip
    """Energies, forces and ∂E/∂strain of some blocks.

    Args:
        model: a program with constant tables.
        outputs, energy_register: its results, and that of the energy.
        width: numbers per atom on the tape.
        batch: `executor.Batch`, whose intervals, weights and derivatives are written.
        grid, energy_scale: see there.
        tape: memory.
        results: `executor.Results`, written.
        energy: E (B,), float64, written.
        derivatives: `Derivatives`, added to.
        first, last: blocks.
    """
    ptr, starts = batch.blocks.ptr, batch.blocks.first
    for block in range(first, last):
        begin, end = starts[block], starts[block + 1]
        _place(batch, grid, model.knots, ptr[begin], ptr[end])
        forward_blocks(
            model, outputs, energy_register, batch, width, True, tape, results, block, block + 1
        )
        for b in range(begin, end):
            energy[b] = energy_scale.scale * results.energy[b]
            for i in range(ptr[b], ptr[b + 1]):
                energy[b] += batch.atom_weights[i] * energy_scale.atomic_references[batch.z[i]]
        add_derivatives(
            batch, energy_scale.scale, results.radial, results.angular, derivatives, begin, end
        )


@inner
def _place(batch, grid, knots, begin, end):
    """The weights of the knots for the edges of some atoms."""
    edges, dtype = batch.edges, batch.distance.dtype.type
    one, per_spacing = dtype(1), dtype(1 / grid.spacing)
    for e in range(edges.row_pointers[begin], edges.row_pointers[end]):
        r, w, d = batch.distance[e], edges.weights[e], edges.derivatives[e]
        edges.interval[e] = 0
        for q in range(4):
            w[q] = dtype(0)
            d[q] = dtype(0)
        if r < grid.cutoff:
            u = r / grid.spacing
            k = min(int(u), knots - 4)
            edges.interval[e] = k
            b_spline(dtype(u - k), one, w)
            add_b_spline_slope(dtype(u - k), per_spacing, d)
