"""The gradient of a loss on energies and slopes for the parameters, block by block, compiled.

`nn/fused.py` has the derivation. Tangents are called d…, adjoints of values …_bar; the adjoints of
tangents are those that gave the slopes, and lie on the tape.
"""

from typing import NamedTuple

import numpy as np

from schnetgeo.nn.parameters import Sizes, embedding_of, layer_of, readout_of
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
    conv,
)
from schnetgeo.ops.dense import add_outer, add_products, add_rows, set_rows
from schnetgeo.ops.jit import serial, standalone

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
    y_bar: np.ndarray  # (n,)
    pairs: np.ndarray  # (2, F), of two atoms


def room_size(sizes: Sizes, atoms: int, with_slope: bool) -> int:
    """Numbers in a `Room` for so many atoms."""
    wide = 4 + (5 * (sizes.layers + 1) if with_slope else 0)
    return atoms * (wide * sizes.channels + 3 * sizes.hidden + 1) + 2 * sizes.channels


@serial
def _room(space, sizes, atoms, with_slope):
    """A `Room` at the beginning of a piece of memory."""
    f, r, layers = sizes.channels, sizes.hidden, sizes.layers + 1 if with_slope else 0
    a = 2 * f
    b = a + 5 * layers * atoms * f
    c = b + 4 * atoms * f
    d = c + 3 * atoms * r
    bars, small = space[b:c].reshape(4, atoms, f), space[c:d].reshape(3, atoms, r)
    return Room(
        space[a:b].reshape(5, layers, atoms, f), small[0], small[1],
        bars[0], bars[1], bars[2], bars[3], small[2], space[d : d + atoms],
        space[:a].reshape(2, f),
    )  # fmt: skip


@standalone
def reverse_blocks(sizes, weights, graph, tape, cut, blocks, bars, space, into, with_slope):
    """The gradient of Σ Ē E + Σ v slope.

    Args:
        sizes, weights, graph, tape: as for `whole.energies`, after `whole.slopes`.
        cut: the structures.
        blocks: first structures of the blocks, and the last one's end.
        bars: Ē (B,) and v (E,).
        space: for a `Room`, as many numbers as `room_size` says.
        into: a row of parameters and tables (L, M, F), written; `filters_reverse` adds the rest.
        with_slope: whether there are slopes.
    """
    gradient, table_bar = into
    gradient[:] = 0
    table_bar[:] = 0
    embedding_bar = embedding_of(gradient, sizes)
    for block in range(blocks.shape[0] - 1):
        first, last = blocks[block], blocks[block + 1]
        atoms = cut.ptr[first], cut.ptr[last]
        n = atoms[1] - atoms[0]
        room = _room(space, sizes, n, with_slope)
        for b in range(first, last):
            for i in range(cut.ptr[b], cut.ptr[b + 1]):
                room.y_bar[i - atoms[0]] = graph.share[i] * bars[0][b]
        if with_slope:
            _tangents(weights, graph, tape, room, bars[1], atoms)
        _reverse(sizes, weights, graph, tape, room, bars[1], gradient, table_bar, with_slope, atoms)
        for i in range(n):
            row = embedding_bar[cut.z[atoms[0] + i]]
            for f in range(row.shape[0]):
                row[f] += room.x_bar[i, f]


@standalone
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
        p = tape.layers[P, layer, own]
        _moved_conv(p, dp, weights.tables[layer], graph, v, atoms, dg)
        bend[:] = 0
        add_products(dg, weights.w2[layer], bend)
        _bend(tape.layers[FIRST, layer, own], tape.layers[H_BAR, layer, own], dq, bend)
        set_rows(dx, result)
        add_products(dq, weights.w3[layer], result)
    room.bend[:] = 0
    add_products(room.moved[DX, weights.b1.shape[0], :n], weights.r1, room.bend)
    first, second = tape.readout[HIDDEN_FIRST, own], tape.readout[HIDDEN_SECOND, own]
    for i in range(n):
        for f in range(first.shape[1]):
            dh = room.bend[i, f]
            room.dq[i, f] = first[i, f] * dh
            room.bend[i, f] = second[i, f] * dh


@standalone
def _reverse(sizes, weights, graph, tape, room, v, gradient, table_bar, with_slope, atoms):
    """Reverse Σ ȳ y + Σ share ẏ."""
    begin, end = atoms
    own, n = slice(begin, end), end - begin
    _reverse_readout(sizes, weights, graph, tape, room, gradient, with_slope, atoms)
    for layer in range(sizes.layers - 1, -1, -1):
        g, q, p = tape.layers[G, layer, own], tape.layers[Q, layer, own], tape.layers[P, layer, own]
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
            over, dp = tape.layers[G_BAR, layer, own], room.moved[DP, layer, :n]
            _moved_conv(over, room.g_bar, table, graph, v, atoms, room.p_bar)
            _moved_table(p, dp, over, room.g_bar, graph, v, atoms, room.pairs, bar)
            if layer:
                add_outer(tape.layers[P_BAR, layer, own], room.moved[DX, layer, :n], out.w1)
        else:
            conv(room.g_bar, table, graph, atoms, room.p_bar)
            _table(p, room.g_bar, graph, atoms, bar)
        add_outer(room.p_bar, tape.x[layer, own], out.w1)
        add_rows(room.p_bar, out.b1)
        add_products(room.p_bar, weights.w1_back[layer], room.x_bar)


@standalone
def _reverse_readout(sizes, weights, graph, tape, room, gradient, with_slope, atoms):
    begin, end = atoms
    own, out = slice(begin, end), readout_of(gradient, sizes)
    for i in range(end - begin):
        bar, hidden = room.y_bar[i], tape.readout[HIDDEN, begin + i]
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


@standalone
def _moved_conv(x, dx, table, graph, v, atoms, out):
    """Σ_{e: j→i} ẋ_j ⊙ W(r_e) + v_e x_j ⊙ W′(r_e) for the atoms i of a block."""
    begin, end = atoms
    out[:] = 0
    for i in range(begin, end):
        x_i, dx_i, out_i = x[i - begin], dx[i - begin], out[i - begin]
        for e in range(graph.start[i], graph.start[i + 1]):
            if e > graph.reverse[e]:
                continue
            j, k, t = graph.source[e] - begin, graph.interval[e], v[e]
            w, s = graph.weights[e], graph.slopes[e]
            x_j, dx_j, out_j = x[j], dx[j], out[j]
            w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
            s0, s1, s2, s3 = t * s[0], t * s[1], t * s[2], t * s[3]
            c0, c1, c2, c3 = table[k], table[k + 1], table[k + 2], table[k + 3]
            for f in range(x_i.shape[0]):
                filter = w0 * c0[f] + w1 * c1[f] + w2 * c2[f] + w3 * c3[f]
                moved = s0 * c0[f] + s1 * c1[f] + s2 * c2[f] + s3 * c3[f]
                out_i[f] += dx_j[f] * filter + x_j[f] * moved
                out_j[f] += dx_i[f] * filter + x_i[f] * moved


@standalone
def _table(p, g_bar, graph, atoms, out):
    """Add Σ_e w_eq p_j ⊙ ḡ_i to the rows k_e + q."""
    begin, end = atoms
    for i in range(begin, end):
        p_i, g_i = p[i - begin], g_bar[i - begin]
        for e in range(graph.start[i], graph.start[i + 1]):
            if e > graph.reverse[e]:
                continue
            j, k, w = graph.source[e] - begin, graph.interval[e], graph.weights[e]
            p_j, g_j = p[j], g_bar[j]
            w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
            o0, o1, o2, o3 = out[k], out[k + 1], out[k + 2], out[k + 3]
            for f in range(p_i.shape[0]):
                pair = p_j[f] * g_i[f] + p_i[f] * g_j[f]
                o0[f] += w0 * pair
                o1[f] += w1 * pair
                o2[f] += w2 * pair
                o3[f] += w3 * pair


@standalone
def _moved_table(p, dp, over, g_bar, graph, v, atoms, pairs, out):
    """Add Σ_e w_eq (p_j ⊙ ḡ_i + ṗ_j ⊙ ġ̄_i) + v_e s_eq p_j ⊙ ġ̄_i, where `over` is ġ̄."""
    begin, end = atoms
    pair, moved = pairs[0], pairs[1]
    for i in range(begin, end):
        p_i, dp_i, g_i, o_i = p[i - begin], dp[i - begin], g_bar[i - begin], over[i - begin]
        for e in range(graph.start[i], graph.start[i + 1]):
            if e > graph.reverse[e]:
                continue
            j, k, t = graph.source[e] - begin, graph.interval[e], v[e]
            w, s = graph.weights[e], graph.slopes[e]
            p_j, dp_j, g_j, o_j = p[j], dp[j], g_bar[j], over[j]
            for f in range(p_i.shape[0]):
                moved[f] = p_j[f] * o_i[f] + p_i[f] * o_j[f]
                pair[f] = p_j[f] * g_i[f] + p_i[f] * g_j[f] + dp_j[f] * o_i[f] + dp_i[f] * o_j[f]
            w0, w1, w2, w3 = w[0], w[1], w[2], w[3]
            s0, s1, s2, s3 = t * s[0], t * s[1], t * s[2], t * s[3]
            o0, o1, o2, o3 = out[k], out[k + 1], out[k + 2], out[k + 3]
            for f in range(p_i.shape[0]):
                o0[f] += w0 * pair[f] + s0 * moved[f]
                o1[f] += w1 * pair[f] + s1 * moved[f]
                o2[f] += w2 * pair[f] + s2 * moved[f]
                o3[f] += w3 * pair[f] + s3 * moved[f]
