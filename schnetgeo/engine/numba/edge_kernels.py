"""Convolutions over the edges of a block of atoms, compiled; both edges of a pair at once.

Rows of features count from the block's first atom. A pair is worked on at the first of its two
edges, e < reverse[e], and its edge gradients are written there.
"""

from typing import NamedTuple

import numpy as np

from schnetgeo.ops.jit import inner, standalone


class EdgeArrays(NamedTuple):
    """Sorted edges j → i and their weights on the knots."""

    source: np.ndarray  # (E,)
    row_pointers: np.ndarray  # (N + 1,) first edge of each atom
    reverse: np.ndarray  # (E,)
    interval: np.ndarray  # (E,) row of the first of four coefficients
    weights: np.ndarray  # (E, 4) what they count in the filter
    derivatives: np.ndarray  # (E, 4) ∂/∂r of that
    unit: np.ndarray  # (E, 3) from target to source, or (0, 3) where no filter needs it


@standalone
def conv(x, table, edges, atoms, out):
    """Add Σ_{e: j→i} x_j ⊙ Σ_q w_eq c_{k+q} to out_i."""
    begin, end = atoms
    for i in range(begin, end):
        x_i, out_i = x[i - begin], out[i - begin]
        for e in range(edges.row_pointers[i], edges.row_pointers[i + 1]):
            if e > edges.reverse[e]:
                continue
            j, k, w = edges.source[e] - begin, edges.interval[e], edges.weights[e]
            x_j, out_j = x[j], out[j]
            w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
            c0, c1, c2, c3 = table[k], table[k + 1], table[k + 2], table[k + 3]
            for f in range(x_i.shape[0]):
                filter = w0 * c0[f] + w1 * c1[f] + w2 * c2[f] + w3 * c3[f]
                out_i[f] += x_j[f] * filter
                out_j[f] += x_i[f] * filter


@standalone
def edge_gradient(x, adjoint, table, edges, atoms, radial):
    """Add ⟨x_j ⊙ a_i + x_i ⊙ a_j, Σ_q w′_eq c_{k+q}⟩ to the first edge of each pair."""
    begin, end = atoms
    for i in range(begin, end):
        x_i, a_i = x[i - begin], adjoint[i - begin]
        for e in range(edges.row_pointers[i], edges.row_pointers[i + 1]):
            if e > edges.reverse[e]:
                continue
            j, k, d = edges.source[e] - begin, edges.interval[e], edges.derivatives[e]
            x_j, a_j = x[j], adjoint[j]
            d0, d1, d2, d3 = d[0], d[1], d[2], d[3]
            c0, c1, c2, c3 = table[k], table[k + 1], table[k + 2], table[k + 3]
            total = x.dtype.type(0)
            for f in range(x_i.shape[0]):
                pair = x_j[f] * a_i[f] + x_i[f] * a_j[f]
                total += pair * (d0 * c0[f] + d1 * c1[f] + d2 * c2[f] + d3 * c3[f])
            radial[e] += total


@standalone
def edge_gradient_and_conv(x, adjoint, table, edges, atoms, radial, out):
    """Both `edge_gradient`, and `conv` of the adjoint, added to out."""
    begin, end = atoms
    for i in range(begin, end):
        x_i, a_i, out_i = x[i - begin], adjoint[i - begin], out[i - begin]
        for e in range(edges.row_pointers[i], edges.row_pointers[i + 1]):
            if e > edges.reverse[e]:
                continue
            j, k = edges.source[e] - begin, edges.interval[e]
            w, d = edges.weights[e], edges.derivatives[e]
            x_j, a_j, out_j = x[j], adjoint[j], out[j]
            w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
            d0, d1, d2, d3 = d[0], d[1], d[2], d[3]
            c0, c1, c2, c3 = table[k], table[k + 1], table[k + 2], table[k + 3]
            total = x.dtype.type(0)
            for f in range(x_i.shape[0]):
                filter = w0 * c0[f] + w1 * c1[f] + w2 * c2[f] + w3 * c3[f]
                pair = x_j[f] * a_i[f] + x_i[f] * a_j[f]
                total += pair * (d0 * c0[f] + d1 * c1[f] + d2 * c2[f] + d3 * c3[f])
                out_i[f] += a_j[f] * filter
                out_j[f] += a_i[f] * filter
            radial[e] += total


@standalone
def conv_tangent(x, dx, table, edges, dr, atoms, out):
    """Add Σ_{e: j→i} ẋ_j ⊙ W(r_e) + ṙ_e x_j ⊙ W′(r_e) to out_i."""
    begin, end = atoms
    for i in range(begin, end):
        x_i, dx_i, out_i = x[i - begin], dx[i - begin], out[i - begin]
        for e in range(edges.row_pointers[i], edges.row_pointers[i + 1]):
            if e > edges.reverse[e]:
                continue
            j, k, t = edges.source[e] - begin, edges.interval[e], dr[e]
            w, d = edges.weights[e], edges.derivatives[e]
            x_j, dx_j, out_j = x[j], dx[j], out[j]
            w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
            d0, d1, d2, d3 = t * d[0], t * d[1], t * d[2], t * d[3]
            c0, c1, c2, c3 = table[k], table[k + 1], table[k + 2], table[k + 3]
            for f in range(x_i.shape[0]):
                filter = w0 * c0[f] + w1 * c1[f] + w2 * c2[f] + w3 * c3[f]
                tangent = d0 * c0[f] + d1 * c1[f] + d2 * c2[f] + d3 * c3[f]
                out_i[f] += dx_j[f] * filter + x_j[f] * tangent
                out_j[f] += dx_i[f] * filter + x_i[f] * tangent


@standalone
def table_gradient(x, gradient, edges, atoms, out):
    """Add Σ_e w_eq x_j ⊙ b_i to the rows k_e + q."""
    begin, end = atoms
    for i in range(begin, end):
        x_i, b_i = x[i - begin], gradient[i - begin]
        for e in range(edges.row_pointers[i], edges.row_pointers[i + 1]):
            if e > edges.reverse[e]:
                continue
            j, k, w = edges.source[e] - begin, edges.interval[e], edges.weights[e]
            x_j, b_j = x[j], gradient[j]
            w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
            o0, o1, o2, o3 = out[k], out[k + 1], out[k + 2], out[k + 3]
            for f in range(x_i.shape[0]):
                pair = x_j[f] * b_i[f] + x_i[f] * b_j[f]
                o0[f] += w0 * pair
                o1[f] += w1 * pair
                o2[f] += w2 * pair
                o3[f] += w3 * pair


@standalone
def table_gradient_tangent(x, dx, adjoint, gradient, edges, dr, atoms, pairs, out):
    """Add Σ_e w_eq (x_j ⊙ b_i + ẋ_j ⊙ a_i) + ṙ_e w′_eq x_j ⊙ a_i to the rows k_e + q.

    `pairs` (2, F) is room for two rows.
    """
    begin, end = atoms
    pair, tangent = pairs[0], pairs[1]
    for i in range(begin, end):
        x_i, dx_i = x[i - begin], dx[i - begin]
        a_i, b_i = adjoint[i - begin], gradient[i - begin]
        for e in range(edges.row_pointers[i], edges.row_pointers[i + 1]):
            if e > edges.reverse[e]:
                continue
            j = edges.source[e] - begin
            x_j, dx_j, a_j, b_j = x[j], dx[j], adjoint[j], gradient[j]
            for f in range(x_i.shape[0]):
                tangent[f] = x_j[f] * a_i[f] + x_i[f] * a_j[f]
                pair[f] = x_j[f] * b_i[f] + x_i[f] * b_j[f] + dx_j[f] * a_i[f] + dx_i[f] * a_j[f]
            add_to_table(pair, tangent, edges, e, dr[e], out)


@inner
def add_to_table(pair, tangent, edges, e, t, out):
    """Add w_eq pair + ṙ_e w′_eq tangent to the rows k_e + q."""
    k, w, d = edges.interval[e], edges.weights[e], edges.derivatives[e]
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    d0, d1, d2, d3 = t * d[0], t * d[1], t * d[2], t * d[3]
    o0, o1, o2, o3 = out[k], out[k + 1], out[k + 2], out[k + 3]
    for f in range(pair.shape[0]):
        o0[f] += w0 * pair[f] + d0 * tangent[f]
        o1[f] += w1 * pair[f] + d1 * tangent[f]
        o2[f] += w2 * pair[f] + d2 * tangent[f]
        o3[f] += w3 * pair[f] + d3 * tangent[f]
