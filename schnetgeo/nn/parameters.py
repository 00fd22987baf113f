"""All parameters of a SchNet in a row, and its filter networks on the knots, compiled."""

from typing import NamedTuple

import numpy as np
from numba import prange

from schnetgeo.nn.whole import Weights
from schnetgeo.ops.activations import softplus_of
from schnetgeo.ops.cpu import add_coefficient_adjoint, coefficient
from schnetgeo.ops.dense import add_outer, add_products, add_rows, set_all_rows, set_row, set_rows
from schnetgeo.ops.jit import parallel, serial, standalone

_PART = 4096  # parameters whose gradients a thread adds up at once
_ROWS = 48  # knots that a thread takes at once, a multiple of the rows of a tile


class Sizes(NamedTuple):
    """Numbers that fix the shapes."""

    layers: int  # L
    channels: int  # F
    basis: int  # K
    hidden: int  # R, channels of the readout
    elements: int  # Z, rows of the embedding
    samples: int  # M + 2, knots where the filter networks run

    @property
    def parameters(self) -> int:
        """All of them, an absent bias included."""
        f, k, r = self.channels, self.basis, self.hidden
        layer = 4 * f * f + k * f + 5 * f
        return self.elements * f + self.layers * layer + r * f + 2 * r + 1

    @property
    def weights(self) -> int:
        """Numbers in `Weights`."""
        f, r = self.channels, self.hidden
        layer = 6 * f * f + 3 * f + (self.samples - 2) * f
        return self.layers * layer + 2 * f * r + 2 * r + 1

    def filters(self, activated: bool) -> int:
        """Numbers in `Filters`."""
        f, k, m = self.channels, self.basis, self.samples
        return self.layers * (k * f + 2 * f * f + (4 if activated else 3) * m * f)


class Filters(NamedTuple):
    """The filter networks of all layers on the knots."""

    w1: np.ndarray  # (L, K, F), as (in, out)
    w2: np.ndarray  # (L, F, F), as (in, out)
    w2_back: np.ndarray  # (L, F, F), as (out, in)
    hidden: np.ndarray  # (L, M + 2, F), act(h)
    hidden_first: np.ndarray  # (L, M + 2, F), act'(h)
    values: np.ndarray  # (L, M + 2, F)
    last_first: np.ndarray  # (L, M + 2, F) of the last activation, or (0, M + 2, F) without one


class Layer(NamedTuple):
    """Weights (out, in) and biases of one interaction, in the order of `fused.LayerWeights`."""

    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray
    w3: np.ndarray
    b3: np.ndarray
    filter_w1: np.ndarray
    filter_b1: np.ndarray
    filter_w2: np.ndarray
    filter_b2: np.ndarray


class Readout(NamedTuple):
    """Weights and biases of the readout."""

    r1: np.ndarray
    s1: np.ndarray
    r2: np.ndarray
    s2: np.ndarray


@serial
def embedding_of(flat, sizes):
    """The part of a row of parameters, or of their gradients, that is the embedding."""
    return flat[: sizes.elements * sizes.channels].reshape(sizes.elements, sizes.channels)


@serial
def layer_of(flat, sizes, layer):
    """The part that belongs to a layer."""
    f, k = sizes.channels, sizes.basis
    square, wide = f * f, k * f
    a = sizes.elements * f + layer * (4 * square + wide + 5 * f)
    b = a + square + f
    c = b + square + f
    d = c + square + f
    e = d + wide + f
    return Layer(
        flat[a : a + square].reshape(f, f), flat[a + square : b],
        flat[b : b + square].reshape(f, f), flat[b + square : c],
        flat[c : c + square].reshape(f, f), flat[c + square : d],
        flat[d : d + wide].reshape(f, k), flat[d + wide : e],
        flat[e : e + square].reshape(f, f), flat[e + square : e + square + f],
    )  # fmt: skip


@serial
def readout_of(flat, sizes):
    """The part that belongs to the readout."""
    f, k, r = sizes.channels, sizes.basis, sizes.hidden
    a = sizes.elements * f + sizes.layers * (4 * f * f + k * f + 5 * f)
    b = a + r * f
    c, d = b + r, b + 2 * r
    return Readout(flat[a:b].reshape(r, f), flat[b:c], flat[c:d], flat[d : d + 1])


@serial
def weights_of(room, sizes):
    """`Weights` that lie in a row."""
    layers, f, r = sizes.layers, sizes.channels, sizes.hidden
    square, row, table, last = layers * f * f, layers * f, sizes.samples - 2, f * r
    a = 6 * square
    b = a + 3 * row
    c = b + layers * table * f
    d = c + 2 * last
    squares = room[:a].reshape(6, layers, f, f)
    rows = room[a:b].reshape(3, layers, f)
    return Weights(
        squares[0], rows[0], squares[1], rows[1], squares[2], rows[2],
        squares[3], squares[4], squares[5], room[b:c].reshape(layers, table, f),
        room[c : c + last].reshape(f, r), room[d : d + r],
        room[c + last : d].reshape(r, f), room[d + r : d + 2 * r], room[-1:],
    )  # fmt: skip


@serial
def filters_of(room, sizes):
    """`Filters` that lie in a row."""
    layers, f, k, m = sizes.layers, sizes.channels, sizes.basis, sizes.samples
    a, square = layers * k * f, layers * f * f
    b = a + 2 * square
    on_knots = room[b:].reshape(-1, m, f)
    return Filters(
        room[:a].reshape(layers, k, f),
        room[a : a + square].reshape(layers, f, f), room[a + square : b].reshape(layers, f, f),
        on_knots[:layers], on_knots[layers : 2 * layers], on_knots[2 * layers : 3 * layers],
        on_knots[3 * layers :],
    )  # fmt: skip


@parallel
def tabulate(flat, sizes, basis, activated, room, filter_room):
    """Put all weights in their places, run the filter networks, make spline coefficients.

    Args:
        flat: all parameters.
        sizes: of the arrays.
        basis: functions on the knots, (M + 2, K).
        activated: whether the filter networks end with an activation.
        room, filter_room: where `Weights` and `Filters` are written.
    """
    for layer in prange(sizes.layers):
        _unpack(flat, sizes, np.int64(layer), room, filter_room)  # prange counts unsigned
    chunks = (basis.shape[0] + _ROWS - 1) // _ROWS
    for part in prange(sizes.layers * chunks):
        layer, begin = np.int64(part) // chunks, np.int64(part) % chunks * _ROWS
        rows = begin, min(begin + _ROWS, basis.shape[0])
        _sample(flat, sizes, layer, filter_room, basis, rows, activated)
    for part in prange(sizes.layers * chunks):
        layer, begin = np.int64(part) // chunks, np.int64(part) % chunks * _ROWS
        _interpolate(sizes, layer, room, filter_room, begin)


@standalone
def _unpack(flat, sizes, layer, room, filter_room):
    """Put the weights of a layer in their places, and those of the readout with the first."""
    weights, filters = weights_of(room, sizes), filters_of(filter_room, sizes)
    if layer == 0:
        readout = readout_of(flat, sizes)
        set_rows(readout.r1.T, weights.r1)
        set_rows(readout.r1, weights.r1_back)
        set_row(readout.s1, weights.s1)
        set_row(readout.r2, weights.r2)
        set_row(readout.s2, weights.s2)
    own = layer_of(flat, sizes, layer)
    set_rows(own.w1.T, weights.w1[layer])
    set_rows(own.w2.T, weights.w2[layer])
    set_rows(own.w3.T, weights.w3[layer])
    set_rows(own.w1, weights.w1_back[layer])
    set_rows(own.w2, weights.w2_back[layer])
    set_rows(own.w3, weights.w3_back[layer])
    set_row(own.b1, weights.b1[layer])
    set_row(own.b2, weights.b2[layer])
    set_row(own.b3, weights.b3[layer])
    set_rows(own.filter_w1.T, filters.w1[layer])
    set_rows(own.filter_w2.T, filters.w2[layer])
    set_rows(own.filter_w2, filters.w2_back[layer])


@serial
def _present(basis):
    """First and last column, the latter excluded, that is not 0: Gaussians far away are."""
    first, last = basis.shape[1], 0
    for m in range(basis.shape[0]):
        for k in range(first):
            if basis[m, k] != 0:
                first = k
                break
        for k in range(basis.shape[1] - 1, last - 1, -1):
            if basis[m, k] != 0:
                last = k + 1
                break
    return min(first, last), last


@standalone
def _sample(flat, sizes, layer, filter_room, basis, rows, activated):
    """The filter network on some of the knots."""
    own, filters = layer_of(flat, sizes, layer), filters_of(filter_room, sizes)
    part = slice(rows[0], rows[1])
    hidden, first = filters.hidden[layer, part], filters.hidden_first[layer, part]
    values = filters.values[layer, part]
    set_all_rows(own.filter_b1, hidden)
    first_k, last_k = _present(basis[part])
    add_products(basis[part, first_k:last_k], filters.w1[layer, first_k:last_k], hidden)
    softplus_of(hidden.reshape(-1), first.reshape(-1))
    set_all_rows(own.filter_b2, values)
    add_products(hidden, filters.w2[layer], values)
    if activated:
        softplus_of(values.reshape(-1), filters.last_first[layer, part].reshape(-1))


@standalone
def _interpolate(sizes, layer, room, filter_room, begin):
    """Spline coefficients from some of the samples."""
    values = filters_of(filter_room, sizes).values[layer]
    table = weights_of(room, sizes).tables[layer]
    for m in range(begin, min(begin + _ROWS, table.shape[0])):
        coefficient(values, m, table[m])


@parallel
def filters_reverse(sizes, filter_room, basis, tables, gradient, activated):
    """From the threads' gradients for the tables to those for all parameters, in gradient[0]."""
    for task in prange(gradient.shape[0]):
        _reverse_filters(sizes, filter_room, basis, tables, gradient, activated, np.int64(task))
    for part in prange((gradient.shape[1] + _PART - 1) // _PART):
        for task in range(1, gradient.shape[0]):
            for k in range(part * _PART, min((part + 1) * _PART, gradient.shape[1])):
                gradient[0, k] += gradient[task, k]


@standalone
def _reverse_filters(sizes, filter_room, basis, tables, gradient, activated, task):
    """The share of one thread, in its row of the gradient."""
    filters, threads = filters_of(filter_room, sizes), gradient.shape[0]
    chunks = (basis.shape[0] + _ROWS - 1) // _ROWS
    for layer in range(sizes.layers):
        own = layer_of(gradient[task], sizes, layer)
        w1_bar = np.zeros((sizes.basis, sizes.channels), gradient.dtype)
        for chunk in range(task * chunks // threads, (task + 1) * chunks // threads):
            rows = chunk * _ROWS, min((chunk + 1) * _ROWS, basis.shape[0])
            _reverse_rows(own, w1_bar, layer, filters, basis, tables, rows, activated)
        set_rows(w1_bar.T, own.filter_w1)


@standalone
def _reverse_rows(own, w1_bar, layer, filters, basis, tables, rows, activated):
    """The same for some of the knots; `own` is a thread's gradient for the layer, less w1_bar."""
    begin, end = rows
    bar = np.zeros((end - begin, tables.shape[3]), tables.dtype)
    for task in range(tables.shape[0]):
        for m in range(begin, end):
            add_coefficient_adjoint(tables[task, layer], m, bar[m - begin])
    if activated:
        bar *= filters.last_first[layer, begin:end]
    h_bar = np.zeros_like(bar)
    add_products(bar, filters.w2_back[layer], h_bar)
    h_bar *= filters.hidden_first[layer, begin:end]
    add_outer(bar, filters.hidden[layer, begin:end], own.filter_w2)
    add_rows(bar, own.filter_b2)
    first, last = _present(basis[begin:end])
    add_outer(basis[begin:end, first:last], h_bar, w1_bar[first:last])
    add_rows(h_bar, own.filter_b1)
