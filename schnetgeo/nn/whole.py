"""A whole frozen SchNet as one compiled function over plain arrays: energy, slopes, forces.

Small systems are bound by the dispatch of operators, so there is one call instead of hundreds.
"""

from typing import NamedTuple

import numpy as np

from schnetgeo.ops.cpu import exp_minus, serial, softplus_of


class Weights(NamedTuple):
    """Weights as (in, out) for the way forth, `_back` as (out, in) for the way back."""

    embedding: np.ndarray  # (Z, F)
    w1: np.ndarray  # (L, F, F)
    b1: np.ndarray  # (L, F)
    w2: np.ndarray
    b2: np.ndarray
    w3: np.ndarray
    b3: np.ndarray
    w1_back: np.ndarray
    w2_back: np.ndarray
    w3_back: np.ndarray
    tables: np.ndarray  # (L, M, F), spline coefficients of envelope · filter; knot −1 comes first
    r1: np.ndarray  # (F, R)
    s1: np.ndarray  # (R,)
    r1_back: np.ndarray
    r2: np.ndarray  # (R,)
    s2: float
    silu: bool  # the readout's activation is SiLU instead of the shifted softplus


class Graph(NamedTuple):
    """Atoms and sorted edges j → i."""

    z: np.ndarray  # (N,)
    pos: np.ndarray  # (N, 3) float64
    source: np.ndarray  # (E,)
    start: np.ndarray  # (N + 1,)
    reverse: np.ndarray  # (E,)
    offset: np.ndarray  # (E, 3) lattice vectors in Å, or (0, 3) where there are none
    share: np.ndarray  # (N,) what each atom's energy counts


class Scratch(NamedTuple):
    """What the pass writes and reads again."""

    unit: np.ndarray  # (E, 3)
    distance: np.ndarray  # (E,)
    interval: np.ndarray  # (E,)
    weights: np.ndarray  # (E, 4)
    slopes: np.ndarray  # (E, 4)
    slope: np.ndarray  # (E,)
    x: np.ndarray  # (N, F) features, later their adjoints
    p: np.ndarray  # (L, N, F)
    first: np.ndarray  # (L, N, F)
    g: np.ndarray  # (N, F)
    h: np.ndarray  # (N, F)
    g_bar: np.ndarray  # (N, F)
    hidden: np.ndarray  # (N, R)
    hidden_first: np.ndarray  # (N, R)
    y: np.ndarray  # (N,)
    forces: np.ndarray  # (N, 3)
    power: np.ndarray  # (max(F, R),) powers of two
    bits: np.ndarray  # the same memory as integers

    @classmethod
    def empty(cls, graph: Graph, weights: Weights) -> "Scratch":
        atoms, edges = graph.z.shape[0], graph.source.shape[0]
        layers, channels = weights.b1.shape
        dtype = weights.tables.dtype
        by_layer = (np.empty((layers, atoms, channels), dtype) for _ in range(2))
        features = (np.empty((atoms, channels), dtype) for _ in range(3))
        hidden = (np.empty((atoms, weights.s1.shape[0]), dtype) for _ in range(2))
        power = np.empty(max(channels, weights.s1.shape[0]), dtype)
        return cls(
            np.empty((edges, 3), dtype), np.empty(edges, dtype), np.empty(edges, np.int64),
            np.empty((edges, 4), dtype), np.empty((edges, 4), dtype), np.empty(edges, dtype),
            np.empty((atoms, channels), dtype), *by_layer, *features, *hidden,
            np.empty(atoms, dtype), np.empty((atoms, 3), dtype),
            power, power.view(np.int32 if power.itemsize == 4 else np.int64),
        )  # fmt: skip


def evaluate(graph: Graph, weights: Weights, cutoff: float, spacing: float) -> Scratch:
    """Atomic energies `y`, slopes ∂(Σ share y)/∂r of each edge, and forces."""
    scratch = Scratch.empty(graph, weights)
    _evaluate(graph, weights, scratch, cutoff, spacing)
    return scratch


@serial
def starts(source, target, reverse, shift, atoms):
    """Where each atom's edges begin; −1 first if edges are not sorted, or not symmetric."""
    out = np.zeros(atoms + 1, np.int64)
    edges, last = target.shape[0], 0
    for e in range(edges):
        i, back = target[e], reverse[e] if e < reverse.shape[0] else -1
        inside = 0 <= back < edges and last <= i < atoms
        if not inside or source[back] != i or target[back] != source[e]:
            out[0] = -1
            return out
        if shift.shape[0]:
            for k in range(3):
                if shift[back, k] != -shift[e, k]:
                    out[0] = -1
                    return out
        out[i + 1] += 1
        last = i
    for i in range(atoms):
        out[i + 1] += out[i]
    return out


@serial
def _evaluate(graph, weights, scratch, cutoff, spacing):
    layers = weights.b1.shape[0]
    _place(graph, weights, scratch, cutoff, spacing)
    for layer in range(layers):
        _forth(graph, weights, scratch, layer)
    for layer in range(layers - 1, -1, -1):
        _back(graph, weights, scratch, layer)
    _forces(graph, scratch)


@serial
def _place(graph, weights, scratch, cutoff, spacing):
    """Distances, their places on the knots, and p of the first layer."""
    dtype = scratch.x.dtype.type
    one, last = dtype(1), weights.tables.shape[1] - 4
    for i in range(graph.z.shape[0]):
        for e in range(graph.start[i], graph.start[i + 1]):
            j = graph.source[e]
            dx = graph.pos[j, 0] - graph.pos[i, 0]
            dy = graph.pos[j, 1] - graph.pos[i, 1]
            dz = graph.pos[j, 2] - graph.pos[i, 2]
            if graph.offset.shape[0]:
                dx += graph.offset[e, 0]
                dy += graph.offset[e, 1]
                dz += graph.offset[e, 2]
            r = np.sqrt(dx * dx + dy * dy + dz * dz)
            scratch.distance[e], scratch.slope[e] = r, 0
            inverse = 1 / max(r, 1e-10)
            scratch.unit[e, 0], scratch.unit[e, 1] = dx * inverse, dy * inverse
            scratch.unit[e, 2] = dz * inverse
            if not r < cutoff:
                scratch.interval[e] = 0
                scratch.weights[e] = 0 * r  # NaN where a position is
                scratch.slopes[e] = 0 * r
                continue
            u = r / spacing
            k = min(int(u), last)
            t, h = dtype(u - k), dtype(1 / spacing)
            s = one - t
            w, d = scratch.weights[e], scratch.slopes[e]
            scratch.interval[e] = k
            w[0], w[3] = s * s * s / 6, t * t * t / 6
            w[1], w[2] = (4 - 6 * t * t) / 6 + 3 * w[3], (4 - 6 * s * s) / 6 + 3 * w[0]
            d[0], d[3] = -s * s / 2 * h, t * t / 2 * h
            d[1], d[2] = (3 * t * t - 4 * t) / 2 * h, (4 * s - 3 * s * s) / 2 * h
        scratch.x[i] = weights.embedding[graph.z[i]]
        scratch.p[0, i] = weights.b1[0]
    _add_products(scratch.x, weights.w1[0], scratch.p[0])


@serial
def _forth(graph, weights, scratch, layer):
    """Add lin3(act(lin2(conv(p)))) to x; p of the next layer, or the readout and its adjoint."""
    x, table, g, h = scratch.x, weights.tables[layer], scratch.g, scratch.h
    for i in range(x.shape[0]):
        g[i] = 0
        h[i] = weights.b2[layer]
        x[i] += weights.b3[layer]
        for e in range(graph.start[i], graph.start[i + 1]):
            _add_filtered(
                scratch.p[layer, graph.source[e]], table, scratch.interval[e], scratch.weights[e],
                g[i],
            )  # fmt: skip
    _add_products(g, weights.w2[layer], h)
    for i in range(x.shape[0]):
        softplus_of(h[i], h[i], scratch.first[layer, i], scratch.bits, scratch.power)
    _add_products(h, weights.w3[layer], x)
    if layer + 1 < weights.b1.shape[0]:
        scratch.p[layer + 1] = weights.b1[layer + 1]
        _add_products(x, weights.w1[layer + 1], scratch.p[layer + 1])
    else:
        _readout(graph, weights, scratch)
        _adjoint(weights, scratch, layer)


@serial
def _readout(graph, weights, scratch):
    """Atomic energies, and the adjoint of x in its place."""
    x, hidden, first = scratch.x, scratch.hidden, scratch.hidden_first
    hidden[:] = weights.s1
    _add_products(x, weights.r1, hidden)
    for i in range(x.shape[0]):
        if weights.silu:
            _silu(hidden[i], first[i], scratch.bits, scratch.power)
        else:
            softplus_of(hidden[i], hidden[i], first[i], scratch.bits, scratch.power)
        scratch.y[i] = weights.s2
        for f in range(hidden.shape[1]):
            scratch.y[i] += hidden[i, f] * weights.r2[f]
            first[i, f] *= weights.r2[f] * graph.share[i]
    x[:] = 0
    _add_products(first, weights.r1_back, x)


@serial
def _back(graph, weights, scratch, layer):
    """Slopes along the edges, adjoints of x, and of the convolution of the layer before."""
    table, g_bar, p_bar = weights.tables[layer], scratch.g_bar, scratch.g
    for i in range(p_bar.shape[0]):
        p_bar[i] = 0
        for e in range(graph.start[i], graph.start[i + 1]):
            j, k = graph.source[e], scratch.interval[e]
            scratch.slope[e] += _filtered_dot(
                scratch.p[layer, j], g_bar[i], table, k, scratch.slopes[e]
            )
            if layer:
                _add_filtered(g_bar[j], table, k, scratch.weights[e], p_bar[i])
    if layer:
        _add_products(p_bar, weights.w1_back[layer], scratch.x)
        _adjoint(weights, scratch, layer - 1)


@serial
def _adjoint(weights, scratch, layer):
    """The adjoint of a layer's convolution from that of its result."""
    q_bar, g_bar = scratch.h, scratch.g_bar
    q_bar[:] = 0
    g_bar[:] = 0
    _add_products(scratch.x, weights.w3_back[layer], q_bar)
    q_bar *= scratch.first[layer]
    _add_products(q_bar, weights.w2_back[layer], g_bar)


@serial
def _forces(graph, scratch):
    """F_i = Σ_{e: j→i} (slope_e + slope_reverse(e)) r_e / |r_e|."""
    for i in range(graph.z.shape[0]):
        scratch.forces[i] = 0
        for e in range(graph.start[i], graph.start[i + 1]):
            both = scratch.slope[e] + scratch.slope[graph.reverse[e]]
            for k in range(3):
                scratch.forces[i, k] += both * scratch.unit[e, k]


@serial
def _add_products(x, weight, out):
    """Add x W to out, three atoms and four rows of W at a time."""
    atoms, inputs = x.shape
    for i in range(0, atoms - 2, 3):
        a, b, c = x[i], x[i + 1], x[i + 2]
        out_a, out_b, out_c = out[i], out[i + 1], out[i + 2]
        for k in range(0, inputs - 3, 4):
            a0, a1, a2, a3 = a[k], a[k + 1], a[k + 2], a[k + 3]
            b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
            c0, c1, c2, c3 = c[k], c[k + 1], c[k + 2], c[k + 3]
            w0, w1, w2, w3 = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
            for f in range(out_a.shape[0]):
                v0, v1, v2, v3 = w0[f], w1[f], w2[f], w3[f]
                out_a[f] += a0 * v0 + a1 * v1 + a2 * v2 + a3 * v3
                out_b[f] += b0 * v0 + b1 * v1 + b2 * v2 + b3 * v3
                out_c[f] += c0 * v0 + c1 * v1 + c2 * v2 + c3 * v3
    for i in range(atoms):
        # what the blocks above left: all rows of the last atoms, the last rows of the others
        first = 0 if i >= atoms // 3 * 3 else inputs // 4 * 4
        for k in range(first, inputs):
            for f in range(out.shape[1]):
                out[i, f] += x[i, k] * weight[k, f]


@serial
def _add_filtered(x, table, k, w, out):
    """Add x ⊙ Σ_q w_q c_{k+q} to out."""
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    for f in range(out.shape[0]):
        c0, c1, c2, c3 = table[k, f], table[k + 1, f], table[k + 2, f], table[k + 3, f]
        out[f] += x[f] * (w0 * c0 + w1 * c1 + w2 * c2 + w3 * c3)


@serial
def _filtered_dot(x, y, table, k, w):
    """⟨x ⊙ y, Σ_q w_q c_{k+q}⟩."""
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    total = x.dtype.type(0)
    for f in range(x.shape[0]):
        c0, c1, c2, c3 = table[k, f], table[k + 1, f], table[k + 2, f], table[k + 3, f]
        total += x[f] * y[f] * (w0 * c0 + w1 * c1 + w2 * c2 + w3 * c3)
    return total


@serial
def _silu(h, first, bits, power):
    """Replace h by h σ(h); `first` becomes its derivative."""
    exp_minus(h, first, bits, power)
    for f in range(h.shape[0]):
        sigmoid = 1 / (1 + first[f])
        sigmoid = sigmoid if h[f] > 0 else 1 - sigmoid
        first[f] = sigmoid * (1 + h[f] * (1 - sigmoid))
        h[f] *= sigmoid
