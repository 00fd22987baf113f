"""A whole frozen SchNet as one compiled function over plain arrays: energy, slopes, forces.

Small systems are bound by the dispatch of operators, so there is one call instead of hundreds.
The functions below work on a range of atoms; `evaluate` runs them one after the other, or block
by block on all cores where there are many atoms.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

_BLOCK = 32  # atoms that one thread takes at a time
_PARALLEL_FROM = 128  # atoms

_compiled = njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"}
)


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
    powers: np.ndarray  # 2^-n


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
    g_bar: np.ndarray  # (L, N, F)
    y: np.ndarray  # (N,)
    forces: np.ndarray  # (N, 3)

    @classmethod
    def empty(cls, graph: Graph, weights: Weights) -> "Scratch":
        atoms, edges = graph.z.shape[0], graph.source.shape[0]
        layers, channels = weights.b1.shape
        dtype = weights.tables.dtype
        features = (np.empty((layers, atoms, channels), dtype) for _ in range(3))
        return cls(
            np.empty((edges, 3), dtype), np.empty(edges, dtype), np.empty(edges, np.int64),
            np.empty((edges, 4), dtype), np.empty((edges, 4), dtype), np.empty(edges, dtype),
            np.empty((atoms, channels), dtype), *features,
            np.empty(atoms, dtype), np.empty((atoms, 3), dtype),
        )  # fmt: skip


def evaluate(graph: Graph, weights: Weights, cutoff: float, spacing: float) -> Scratch:
    """Atomic energies `y`, slopes ∂(Σ share y)/∂r of each edge, and forces."""
    scratch = Scratch.empty(graph, weights)
    run = _all_cores if graph.z.shape[0] >= _PARALLEL_FROM else _one_core
    run(graph, weights, scratch, cutoff, spacing)
    return scratch


@_compiled
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


@_compiled
def _one_core(graph, weights, scratch, cutoff, spacing):
    atoms, layers = graph.z.shape[0], weights.b1.shape[0]
    _place(graph, weights, scratch, cutoff, spacing, 0, atoms)
    for layer in range(layers):
        _forth(graph, weights, scratch, layer, 0, atoms)
    for layer in range(layers - 1, -1, -1):
        _back(graph, weights, scratch, layer, 0, atoms)
    _forces(graph, scratch, 0, atoms)


@njit(cache=True, nogil=True, parallel=True)
def _all_cores(graph, weights, scratch, cutoff, spacing):
    atoms, layers = graph.z.shape[0], weights.b1.shape[0]
    blocks = (atoms + _BLOCK - 1) // _BLOCK
    for b in prange(blocks):
        end = min(atoms, (b + 1) * _BLOCK)
        _place(graph, weights, scratch, cutoff, spacing, b * _BLOCK, end)
    for layer in range(layers):
        for b in prange(blocks):
            _forth(graph, weights, scratch, layer, b * _BLOCK, min(atoms, (b + 1) * _BLOCK))
    for layer in range(layers - 1, -1, -1):
        for b in prange(blocks):
            _back(graph, weights, scratch, layer, b * _BLOCK, min(atoms, (b + 1) * _BLOCK))
    for b in prange(blocks):
        _forces(graph, scratch, b * _BLOCK, min(atoms, (b + 1) * _BLOCK))


@_compiled
def _place(graph, weights, scratch, cutoff, spacing, begin, end):
    """Distances, their places on the knots, and p of the first layer."""
    dtype = scratch.x.dtype.type
    one, last = dtype(1), weights.tables.shape[1] - 4
    for i in range(begin, end):
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
        _add_product(scratch.x[i], weights.w1[0], scratch.p[0, i])


@_compiled
def _forth(graph, weights, scratch, layer, begin, end):
    """Add lin3(act(lin2(conv(p)))) to x; p of the next layer, or the readout and its adjoint."""
    channels = scratch.x.shape[1]
    g, h = np.empty(channels, scratch.x.dtype), np.empty(channels, scratch.x.dtype)
    hidden = np.empty(weights.s1.shape[0], scratch.x.dtype)
    first = np.empty(weights.s1.shape[0], scratch.x.dtype)
    table = weights.tables[layer]
    for i in range(begin, end):
        g[:] = 0
        for e in range(graph.start[i], graph.start[i + 1]):
            _add_filtered(scratch.p[layer, graph.source[e]], table, scratch.interval[e],
                          scratch.weights[e], g)  # fmt: skip
        h[:] = weights.b2[layer]
        _add_product(g, weights.w2[layer], h)
        _softplus(h, scratch.first[layer, i], weights.powers)
        x = scratch.x[i]
        x += weights.b3[layer]
        _add_product(h, weights.w3[layer], x)
        if layer + 1 < weights.b1.shape[0]:
            scratch.p[layer + 1, i] = weights.b1[layer + 1]
            _add_product(x, weights.w1[layer + 1], scratch.p[layer + 1, i])
            continue
        hidden[:] = weights.s1
        _add_product(x, weights.r1, hidden)
        if weights.silu:
            _silu(hidden, first, weights.powers)
        else:
            _softplus(hidden, first, weights.powers)
        scratch.y[i] = weights.s2
        for f in range(hidden.shape[0]):
            scratch.y[i] += hidden[f] * weights.r2[f]
            first[f] *= weights.r2[f] * graph.share[i]
        x[:] = 0
        _add_product(first, weights.r1_back, x)
        _adjoint(weights, scratch, layer, i, h)


@_compiled
def _back(graph, weights, scratch, layer, begin, end):
    """Slopes along the edges, adjoints of x, and of the convolution of the layer before."""
    channels = scratch.x.shape[1]
    p_bar, q_bar = np.empty(channels, scratch.x.dtype), np.empty(channels, scratch.x.dtype)
    table, g_bar = weights.tables[layer], scratch.g_bar[layer]
    for i in range(begin, end):
        p_bar[:] = 0
        for e in range(graph.start[i], graph.start[i + 1]):
            j, k = graph.source[e], scratch.interval[e]
            scratch.slope[e] += _filtered_dot(
                scratch.p[layer, j], g_bar[i], table, k, scratch.slopes[e]
            )
            if layer:
                _add_filtered(g_bar[j], table, k, scratch.weights[e], p_bar)
        if layer:
            _add_product(p_bar, weights.w1_back[layer], scratch.x[i])
            _adjoint(weights, scratch, layer - 1, i, q_bar)


@_compiled
def _adjoint(weights, scratch, layer, i, q_bar):
    """g_bar of a layer from the adjoint of its result."""
    q_bar[:] = 0
    _add_product(scratch.x[i], weights.w3_back[layer], q_bar)
    for f in range(q_bar.shape[0]):
        q_bar[f] *= scratch.first[layer, i, f]
    scratch.g_bar[layer, i] = 0
    _add_product(q_bar, weights.w2_back[layer], scratch.g_bar[layer, i])


@_compiled
def _forces(graph, scratch, begin, end):
    """F_i = Σ_{e: j→i} (slope_e + slope_reverse(e)) r_e / |r_e|."""
    for i in range(begin, end):
        scratch.forces[i] = 0
        for e in range(graph.start[i], graph.start[i + 1]):
            both = scratch.slope[e] + scratch.slope[graph.reverse[e]]
            for k in range(3):
                scratch.forces[i, k] += both * scratch.unit[e, k]


@_compiled
def _add_product(x, weight, out):
    """Add x W to out for one atom, four rows of W at a time."""
    whole = x.shape[0] // 4 * 4
    for k in range(0, whole, 4):
        x0, x1, x2, x3 = x[k], x[k + 1], x[k + 2], x[k + 3]
        for f in range(out.shape[0]):
            out[f] += (
                x0 * weight[k, f] + x1 * weight[k + 1, f]
                + x2 * weight[k + 2, f] + x3 * weight[k + 3, f]
            )  # fmt: skip
    for k in range(whole, x.shape[0]):
        for f in range(out.shape[0]):
            out[f] += x[k] * weight[k, f]


@_compiled
def _add_filtered(x, table, k, w, out):
    """Add x ⊙ Σ_q w_q c_{k+q} to out."""
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    for f in range(out.shape[0]):
        c0, c1, c2, c3 = table[k, f], table[k + 1, f], table[k + 2, f], table[k + 3, f]
        out[f] += x[f] * (w0 * c0 + w1 * c1 + w2 * c2 + w3 * c3)


@_compiled
def _filtered_dot(x, y, table, k, w):
    """⟨x ⊙ y, Σ_q w_q c_{k+q}⟩."""
    w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
    total = x.dtype.type(0)
    for f in range(x.shape[0]):
        c0, c1, c2, c3 = table[k, f], table[k + 1, f], table[k + 2, f], table[k + 3, f]
        total += x[f] * y[f] * (w0 * c0 + w1 * c1 + w2 * c2 + w3 * c3)
    return total


@_compiled
def _softplus(h, first, powers):
    """Replace h by ln(½ eʰ + ½); `first` becomes its derivative, the sigmoid."""
    log2 = h.dtype.type(0.6931471805599453)
    for f in range(h.shape[0]):
        small = _exp_minus(abs(h[f]), powers)
        z = small / (2 + small)
        square = z * z
        series = h.dtype.type(1 / 35)
        for odd in range(33, 0, -2):  # ln(1 + y) = 2 artanh(y / (2 + y))
            series = series * square + h.dtype.type(1) / odd
        sigmoid = 1 / (1 + small)
        first[f] = sigmoid if h[f] > 0 else 1 - sigmoid
        h[f] = max(h[f], 0) + 2 * z * series - log2


@_compiled
def _silu(h, first, powers):
    """Replace h by h σ(h); `first` becomes its derivative."""
    for f in range(h.shape[0]):
        sigmoid = 1 / (1 + _exp_minus(abs(h[f]), powers))
        sigmoid = sigmoid if h[f] > 0 else 1 - sigmoid
        first[f] = sigmoid * (1 + h[f] * (1 - sigmoid))
        h[f] *= sigmoid


@_compiled
def _exp_minus(a, powers):
    """e⁻ᵃ for a ≥ 0: a power of two from a table times a polynomial, which vectorizes."""
    one = powers.dtype.type(1)
    log2 = powers.dtype.type(0.6931471805599453)
    end = log2 * (powers.shape[0] - 1)
    a = a if a < end else end  # NaN too, which would point beyond the table
    n = int(a * powers.dtype.type(1.4426950408889634) + one / 2)
    r = n * log2 - a
    total = one
    for term in range(13, 0, -1):
        total = one + r / term * total
    return total * powers[n]
