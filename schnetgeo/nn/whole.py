"""A whole SchNet as compiled functions over plain arrays: energies, and their slopes by edge.

Small systems are bound by the dispatch of operators, and large batches by arrays that do not stay
in the cache. So whatever a block of structures needs is computed before the next block is looked
at: `nn/frozen.py` takes one block for a molecule, `nn/compiled.py` shares the blocks of a batch
among threads.
"""

from typing import NamedTuple

import numpy as np

from schnetgeo.ops import memory
from schnetgeo.ops.activations import curvature, silu_of, softplus_of
from schnetgeo.ops.dense import add_products, set_all_rows, set_rows
from schnetgeo.ops.jit import standalone

# features of the atoms that each layer keeps, rows of `Tape.layers`
P, G, Q, FIRST = range(4)  # lin1(x), conv(p), act(h) and act'(h) of h = lin2(g)
X_BAR, H_BAR, G_BAR, P_BAR = range(4, 8)  # adjoints that give the slopes
# rows of `Tape.readout`
HIDDEN, HIDDEN_FIRST, HIDDEN_SECOND, HIDDEN_BAR = range(4)


class Weights(NamedTuple):
    """Weights as (in, out) for the way forth, `_back` as (out, in) for the way back."""

    w1: np.ndarray  # (L, F, F)
    b1: np.ndarray  # (L, F)
    w2: np.ndarray
    b2: np.ndarray
    w3: np.ndarray
    b3: np.ndarray
    w1_back: np.ndarray
    w2_back: np.ndarray
    w3_back: np.ndarray
    tables: np.ndarray  # (L, M, F), spline coefficients
    r1: np.ndarray  # (F, R)
    s1: np.ndarray  # (R,)
    r1_back: np.ndarray
    r2: np.ndarray  # (R,)
    s2: np.ndarray  # (1,)


class Graph(NamedTuple):
    """Sorted edges j → i, placed on the knots; the two edges of a pair are worked on at once."""

    source: np.ndarray  # (E,)
    start: np.ndarray  # (N + 1,) first edge of each atom
    reverse: np.ndarray  # (E,)
    interval: np.ndarray  # (E,) row of the first of four coefficients
    weights: np.ndarray  # (E, 4) what they count in the filter
    slopes: np.ndarray  # (E, 4) ∂/∂r of that
    share: np.ndarray  # (N,) what each atom's energy counts


class Tape(NamedTuple):
    """What the passes write and read again."""

    x: np.ndarray  # (L + 1, N, F)
    layers: np.ndarray  # (8 or 4, L, N, F)
    readout: np.ndarray  # (4, N, R)
    y: np.ndarray  # (N,)
    slope: np.ndarray  # (E,)

    @classmethod
    def empty(cls, sizes, atoms: int, edges: int, kind, with_slope: bool) -> "Tape":
        """Room for a batch; `sizes` has the numbers of layers and channels."""
        shape = sizes.layers, atoms, sizes.channels
        return cls(
            memory.empty((sizes.layers + 1, *shape[1:]), kind),
            memory.empty((8 if with_slope else 4, *shape), kind),
            memory.empty((4, atoms, sizes.hidden), kind),
            np.empty(atoms, kind),
            np.zeros(edges, kind),
        )


@standalone
def energies(weights, graph, tape, atoms, silu):
    """Energies of the atoms atoms[0] … atoms[1] − 1, whose features are in tape.x[0]."""
    begin, end = atoms
    own = slice(begin, end)
    for layer in range(weights.b1.shape[0]):
        x, result = tape.x[layer, own], tape.x[layer + 1, own]
        p, g = tape.layers[P, layer, own], tape.layers[G, layer, own]
        q, first = tape.layers[Q, layer, own], tape.layers[FIRST, layer, own]
        set_all_rows(weights.b1[layer], p)
        add_products(x, weights.w1[layer], p)
        conv(p, weights.tables[layer], graph, atoms, g)
        set_all_rows(weights.b2[layer], q)
        add_products(g, weights.w2[layer], q)
        softplus_of(q.reshape(-1), first.reshape(-1))
        for i in range(end - begin):
            for f in range(x.shape[1]):
                result[i, f] = x[i, f] + weights.b3[layer, f]
        add_products(q, weights.w3[layer], result)
    hidden, first = tape.readout[HIDDEN, own], tape.readout[HIDDEN_FIRST, own]
    second, y = tape.readout[HIDDEN_SECOND, own], tape.y[own]
    set_all_rows(weights.s1, hidden)
    add_products(tape.x[-1, own], weights.r1, hidden)
    for i in range(end - begin):
        if silu:
            silu_of(hidden[i], first[i], second[i])
        else:
            softplus_of(hidden[i], first[i])
            curvature(first[i], second[i])
        y[i] = weights.s2[0]
        for f in range(hidden.shape[1]):
            y[i] += hidden[i, f] * weights.r2[f]


@standalone
def slopes(weights, graph, tape, atoms):
    """Slopes ∂(Σ share y)/∂r of the edges of these atoms, and the adjoints on the way."""
    begin, end = atoms
    own = slice(begin, end)
    h_bar, second = tape.readout[HIDDEN_BAR, own], tape.readout[HIDDEN_SECOND, own]
    for i in range(end - begin):
        for f in range(h_bar.shape[1]):
            y_bar = graph.share[begin + i] * weights.r2[f]
            h_bar[i, f] = y_bar * tape.readout[HIDDEN_FIRST, begin + i, f]
            second[i, f] *= y_bar
    layers = weights.b1.shape[0]
    tape.layers[X_BAR, layers - 1, own] = 0
    add_products(h_bar, weights.r1_back, tape.layers[X_BAR, layers - 1, own])
    for layer in range(layers - 1, -1, -1):
        x_bar, h_bar = tape.layers[X_BAR, layer, own], tape.layers[H_BAR, layer, own]
        g_bar, p_bar = tape.layers[G_BAR, layer, own], tape.layers[P_BAR, layer, own]
        h_bar[:] = 0
        add_products(x_bar, weights.w3_back[layer], h_bar)
        h_bar *= tape.layers[FIRST, layer, own]
        g_bar[:] = 0
        add_products(h_bar, weights.w2_back[layer], g_bar)
        p, table = tape.layers[P, layer, own], weights.tables[layer]
        if not layer:  # the embedding's own adjoint is not needed
            _slope(p, g_bar, table, graph, atoms, tape.slope)
        else:
            _slope_and_conv(p, g_bar, table, graph, atoms, tape.slope, p_bar)
            before = tape.layers[X_BAR, layer - 1, own]
            set_rows(x_bar, before)
            add_products(p_bar, weights.w1_back[layer], before)


@standalone
def conv(x, table, graph, atoms, out):
    """Σ_{e: j→i} x_j ⊙ Σ_q w_eq c_{k+q} for the atoms i of a block; x and out have its rows."""
    begin, end = atoms
    out[:] = 0
    for i in range(begin, end):
        x_i, out_i = x[i - begin], out[i - begin]
        for e in range(graph.start[i], graph.start[i + 1]):
            if e > graph.reverse[e]:
                continue
            j, k, w = graph.source[e] - begin, graph.interval[e], graph.weights[e]
            x_j, out_j = x[j], out[j]
            w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
            c0, c1, c2, c3 = table[k], table[k + 1], table[k + 2], table[k + 3]
            for f in range(x_i.shape[0]):
                filter = w0 * c0[f] + w1 * c1[f] + w2 * c2[f] + w3 * c3[f]
                out_i[f] += x_j[f] * filter
                out_j[f] += x_i[f] * filter


@standalone
def _slope(p, g_bar, table, graph, atoms, slope):
    """Add ⟨p_j ⊙ ḡ_i + p_i ⊙ ḡ_j, Σ_q s_eq c_{k+q}⟩ to the first edge e of each pair."""
    begin, end = atoms
    for i in range(begin, end):
        p_i, g_i = p[i - begin], g_bar[i - begin]
        for e in range(graph.start[i], graph.start[i + 1]):
            if e > graph.reverse[e]:
                continue
            j, k, s = graph.source[e] - begin, graph.interval[e], graph.slopes[e]
            p_j, g_j = p[j], g_bar[j]
            s0, s1, s2, s3 = s[0], s[1], s[2], s[3]
            c0, c1, c2, c3 = table[k], table[k + 1], table[k + 2], table[k + 3]
            total = p.dtype.type(0)
            for f in range(p_i.shape[0]):
                pair = p_j[f] * g_i[f] + p_i[f] * g_j[f]
                total += pair * (s0 * c0[f] + s1 * c1[f] + s2 * c2[f] + s3 * c3[f])
            slope[e] += total


@standalone
def _slope_and_conv(p, g_bar, table, graph, atoms, slope, p_bar):
    """Both `_slope`, and `conv` of ḡ."""
    begin, end = atoms
    p_bar[:] = 0
    for i in range(begin, end):
        p_i, g_i, out_i = p[i - begin], g_bar[i - begin], p_bar[i - begin]
        for e in range(graph.start[i], graph.start[i + 1]):
            if e > graph.reverse[e]:
                continue
            j, k = graph.source[e] - begin, graph.interval[e]
            w, s = graph.weights[e], graph.slopes[e]
            p_j, g_j, out_j = p[j], g_bar[j], p_bar[j]
            w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
            s0, s1, s2, s3 = s[0], s[1], s[2], s[3]
            c0, c1, c2, c3 = table[k], table[k + 1], table[k + 2], table[k + 3]
            total = p.dtype.type(0)
            for f in range(p_i.shape[0]):
                filter = w0 * c0[f] + w1 * c1[f] + w2 * c2[f] + w3 * c3[f]
                pair = p_j[f] * g_i[f] + p_i[f] * g_j[f]
                total += pair * (s0 * c0[f] + s1 * c1[f] + s2 * c2[f] + s3 * c3[f])
                out_i[f] += g_j[f] * filter
                out_j[f] += g_i[f] * filter
            slope[e] += total
