"""The gradient of a loss on energies and slopes for the parameters, block by block, compiled.

`nn/fused.py` has the derivation. Tangents are called d…, adjoints of values …_bar; the adjoints of
tangents are those that gave the slopes, and lie on the tape.
"""

from typing import NamedTuple

import numpy as np

from schnetgeo.nn.parameters import layer_of, readout_of
from schnetgeo.nn.whole import (
    FIRST,
    G_BAR,
    H_BAR,
    HIDDEN,
    HIDDEN_BAR,
    HIDDEN_FIRST,
    HIDDEN_SECOND,
    P_BAR,
    X_BAR,
    G,
    P,
    Q,
    add_filtered,
)
from schnetgeo.ops.cpu import serial
from schnetgeo.ops.dense import add_outer, add_products, add_rows

DX, DP, DG, DQ, BEND = range(5)  # rows of `Room.moved`


class Room(NamedTuple):
    """What one block needs while it is worked on; rows count from its first atom."""

    moved: np.ndarray  # (5, L + 1, n, F), tangents, and what the activations' curvature adds to h̄
    dq: np.ndarray  # (n, R), of the readout
    bend: np.ndarray  # (n, R)
    x_bar: np.ndarray  # (n, F)
    h_bar: np.ndarray
    g_bar: np.ndarray
    p_bar: np.ndarray
    r_bar: np.ndarray  # (n, R)


@serial
def reverse_blocks(sizes, weights, graph, tape, first, bars, into, with_slope):
    """The gradient of Σ ȳ y + Σ v slope.

    Args:
        sizes, weights, graph, tape: as for `whole.energies`, after `whole.slopes`.
        first: first atoms of the blocks, and the last one's end.
        bars: ȳ (N,) and v (E,).
        into: a row of parameters and tables (L, M, F) to add to, and x̄ (N, F) to write.
        with_slope: whether there are slopes.
    """
    gradient, table_bar, x_bar = into
    longest = 0
    for block in range(first.shape[0] - 1):
        longest = max(longest, first[block + 1] - first[block])
    layers = sizes.layers + 1 if with_slope else 0
    kept, small, kind = (longest, sizes.channels), (longest, sizes.hidden), tape.y.dtype
    whole = Room(
        np.empty((5, layers, longest, sizes.channels), kind),
        np.empty(small, kind), np.empty(small, kind),
        np.empty(kept, kind), np.empty(kept, kind), np.empty(kept, kind), np.empty(kept, kind),
        np.empty(small, kind),
    )  # fmt: skip
    for block in range(first.shape[0] - 1):
        atoms = first[block], first[block + 1]
        n = atoms[1] - atoms[0]
        room = Room(
            whole.moved, whole.dq[:n], whole.bend[:n], whole.x_bar[:n],
            whole.h_bar[:n], whole.g_bar[:n], whole.p_bar[:n], whole.r_bar[:n],
        )  # fmt: skip
        if with_slope:
            _tangents(weights, graph, tape, room, bars[1], atoms)
        _reverse(sizes, weights, graph, tape, room, bars, gradient, table_bar, with_slope, atoms)
        x_bar[atoms[0] : atoms[1]] = room.x_bar


@serial
def _tangents(weights, graph, tape, room, v, atoms):
    """Carry the tangents that v gives the distances through the layers."""
    begin, end = atoms
    own, n = slice(begin, end), end - begin
    room.moved[DX, 0, :n] = 0  # the embedding does not move
    room.moved[DP, 0, :n] = 0
    for layer in range(weights.b1.shape[0]):
        dx, dp = room.moved[DX, layer, :n], room.moved[DP, layer, :n]
        dg, dq = room.moved[DG, layer, :n], room.moved[DQ, layer, :n]
        bend, result = room.moved[BEND, layer, :n], room.moved[DX, layer + 1, :n]
        if layer:
            dp[:] = 0
            add_products(dx, weights.w1[layer], dp)
        _moved_conv(tape.layers[P, layer], dp, weights.tables[layer], graph, v, atoms, dg)
        bend[:] = 0
        add_products(dg, weights.w2[layer], bend)
        _bend(tape.layers[FIRST, layer, own], tape.layers[H_BAR, layer, own], dq, bend)
        result[:] = dx
        add_products(dq, weights.w3[layer], result)
    room.bend[:] = 0
    add_products(room.moved[DX, weights.b1.shape[0], :n], weights.r1, room.bend)
    first, second = tape.readout[HIDDEN_FIRST, own], tape.readout[HIDDEN_SECOND, own]
    for i in range(n):
        for f in range(first.shape[1]):
            dh = room.bend[i, f]
            room.dq[i, f] = first[i, f] * dh
            room.bend[i, f] = second[i, f] * dh


@serial
def _reverse(sizes, weights, graph, tape, room, bars, gradient, table_bar, with_slope, atoms):
    """Reverse Σ ȳ y + Σ share ẏ."""
    begin, end = atoms
    y_bar, v = bars
    own, n = slice(begin, end), end - begin
    _reverse_readout(sizes, weights, graph, tape, room, y_bar, gradient, with_slope, atoms)
    for layer in range(sizes.layers - 1, -1, -1):
        g, q, p = tape.layers[G, layer, own], tape.layers[Q, layer, own], tape.layers[P, layer]
        out = layer_of(gradient, sizes, layer)
        add_outer(room.x_bar, q, out.w3)
        add_rows(room.x_bar, out.b3)
        h_bar = room.h_bar
        h_bar[:] = 0
        add_products(room.x_bar, weights.w3_back[layer], h_bar)
        h_bar *= tape.layers[FIRST, layer, own]
        if with_slope:
            h_bar += room.moved[BEND, layer, :n]
            add_outer(tape.layers[X_BAR, layer, own], room.moved[DQ, layer, :n], out.w3)
            add_outer(tape.layers[H_BAR, layer, own], room.moved[DG, layer, :n], out.w2)
        add_outer(h_bar, g, out.w2)
        add_rows(h_bar, out.b2)
        room.g_bar[:] = 0
        add_products(h_bar, weights.w2_back[layer], room.g_bar)
        table, bar = weights.tables[layer], table_bar[layer]
        if with_slope:
            over = tape.layers[G_BAR, layer]
            _moved_conv(over, room.g_bar, table, graph, v, atoms, room.p_bar)
            _moved_table(p, room.moved[DP, layer], over, room.g_bar, graph, v, atoms, bar)
            if layer:
                add_outer(tape.layers[P_BAR, layer, own], room.moved[DX, layer, :n], out.w1)
        else:
            _conv(room.g_bar, table, graph, atoms, room.p_bar)
            _table(p, room.g_bar, graph, atoms, bar)
        add_outer(room.p_bar, tape.x[layer, own], out.w1)
        add_rows(room.p_bar, out.b1)
        add_products(room.p_bar, weights.w1_back[layer], room.x_bar)


@serial
def _reverse_readout(sizes, weights, graph, tape, room, y_bar, gradient, with_slope, atoms):
    begin, end = atoms
    own, out = slice(begin, end), readout_of(gradient, sizes)
    for i in range(end - begin):
        bar, hidden = y_bar[begin + i], tape.readout[HIDDEN, begin + i]
        first = tape.readout[HIDDEN_FIRST, begin + i]
        out.s2[0] += bar
        for f in range(hidden.shape[0]):
            out.r2[f] += bar * hidden[f]
            room.r_bar[i, f] = bar * weights.r2[f] * first[f]
        if with_slope:
            for f in range(hidden.shape[0]):
                out.r2[f] += graph.share[begin + i] * room.dq[i, f]
                room.r_bar[i, f] += room.bend[i, f]
    if with_slope:
        moved = room.moved[DX, sizes.layers, : end - begin]
        add_outer(tape.readout[HIDDEN_BAR, own], moved, out.r1)
    add_outer(room.r_bar, tape.x[sizes.layers, own], out.r1)
    add_rows(room.r_bar, out.s1)
    room.x_bar[:] = 0
    add_products(room.r_bar, weights.r1_back, room.x_bar)


@serial
def _bend(first, h_bar, dq, bend):
    """From ḣ in `bend`: q̇ = act'(h) ḣ, and ssp''(h) q̄ ḣ = (1 − ssp'(h)) h̄ ḣ in its place."""
    for i in range(first.shape[0]):
        for f in range(first.shape[1]):
            s, dh = first[i, f], bend[i, f]
            dq[i, f] = s * dh
            bend[i, f] = (1 - s) * h_bar[i, f] * dh


@serial
def _conv(x, table, graph, atoms, out):
    """As `whole.conv`, for features of the block alone."""
    begin, end = atoms
    for i in range(begin, end):
        row = out[i - begin]
        row[:] = 0
        for e in range(graph.start[i], graph.start[i + 1]):
            j = graph.source[e] - begin
            add_filtered(x[j], table, graph.interval[e], graph.weights[e], row)


@serial
def _moved_conv(x, dx, table, graph, v, atoms, out):
    """out_i = Σ_{e: j→i} ẋ_j ⊙ W(r_e) + v_e x_j ⊙ W′(r_e); dx has the rows of the block alone."""
    begin, end = atoms
    for i in range(begin, end):
        row = out[i - begin]
        row[:] = 0
        for e in range(graph.start[i], graph.start[i + 1]):
            j, k, t = graph.source[e], graph.interval[e], v[e]
            w, s = graph.weights[e], graph.slopes[e]
            w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
            s0, s1, s2, s3 = t * s[0], t * s[1], t * s[2], t * s[3]
            fixed, moved = x[j], dx[j - begin]
            for f in range(row.shape[0]):
                c0, c1, c2, c3 = table[k, f], table[k + 1, f], table[k + 2, f], table[k + 3, f]
                row[f] += (
                    moved[f] * (w0 * c0 + w1 * c1 + w2 * c2 + w3 * c3)
                    + fixed[f] * (s0 * c0 + s1 * c1 + s2 * c2 + s3 * c3)
                )  # fmt: skip


@serial
def _table(p, g_bar, graph, atoms, out):
    """Add Σ_e w_eq p_j ⊙ ḡ_i to the rows k_e + q."""
    begin, end = atoms
    for i in range(begin, end):
        y = g_bar[i - begin]
        for e in range(graph.start[i], graph.start[i + 1]):
            x, k, w = p[graph.source[e]], graph.interval[e], graph.weights[e]
            w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
            o0, o1, o2, o3 = out[k], out[k + 1], out[k + 2], out[k + 3]
            for f in range(y.shape[0]):
                product = x[f] * y[f]
                o0[f] += w0 * product
                o1[f] += w1 * product
                o2[f] += w2 * product
                o3[f] += w3 * product


@serial
def _moved_table(p, dp, over, g_bar, graph, v, atoms, out):
    """Add Σ_e w_eq (p_j ⊙ ḡ_i + ṗ_j ⊙ ġ̄_i) + v_e s_eq p_j ⊙ ġ̄_i, where `over` is ġ̄."""
    begin, end = atoms
    for i in range(begin, end):
        y, dy = g_bar[i - begin], over[i]
        for e in range(graph.start[i], graph.start[i + 1]):
            j, k, t = graph.source[e], graph.interval[e], v[e]
            w, s = graph.weights[e], graph.slopes[e]
            w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
            s0, s1, s2, s3 = t * s[0], t * s[1], t * s[2], t * s[3]
            x, dx = p[j], dp[j - begin]
            o0, o1, o2, o3 = out[k], out[k + 1], out[k + 2], out[k + 3]
            for f in range(y.shape[0]):
                product = x[f] * y[f] + dx[f] * dy[f]
                moved = x[f] * dy[f]
                o0[f] += w0 * product + s0 * moved
                o1[f] += w1 * product + s1 * moved
                o2[f] += w2 * product + s2 * moved
                o3[f] += w3 * product + s3 * moved
