"""All parameters of a SchNet in a row, and its filter networks on the knots, compiled."""

from typing import NamedTuple

import numpy as np
from numba import prange

from schnetgeo.nn.whole import Weights
from schnetgeo.ops import memory
from schnetgeo.ops.activations import softplus_of
from schnetgeo.ops.cpu import add_coefficient_adjoint, coefficient
from schnetgeo.ops.dense import add_outer, add_products, add_rows
from schnetgeo.ops.jit import parallel, serial

_ROWS = 32  # knots that a thread takes at once


class Sizes(NamedTuple):
    """Numbers of layers L, channels F, basis functions K and channels of the readout R."""

    layers: int
    channels: int
    basis: int
    hidden: int

    @property
    def total(self) -> int:
        """Parameters in all, an absent bias included."""
        f, k, r = self.channels, self.basis, self.hidden
        return self.layers * (4 * f * f + k * f + 5 * f) + r * f + 2 * r + 1

    def weights(self, basis: np.ndarray) -> Weights:
        """Room for the weights, and for tables on the knots of `basis` (M + 2, K)."""
        layers, f, _, r = self
        square, row, dtype = (layers, f, f), (layers, f), basis.dtype
        shapes = square, row, square, row, square, row, square, square, square
        shapes += (layers, len(basis) - 2, f), (f, r), (r,), (r, f), (r,), (1,)
        return Weights(*(memory.empty(shape, dtype) for shape in shapes))

    def filters(self, basis: np.ndarray, activated: bool) -> "Filters":
        """Room for the filter networks."""
        layers, f, k, _ = self
        knots = layers, len(basis), f
        shapes = (layers, k, f), (layers, f, f), (layers, f, f), knots, knots, knots
        shapes += (knots if activated else (0, 0, 0),)
        return Filters(*(memory.empty(shape, basis.dtype) for shape in shapes))


class Filters(NamedTuple):
    """The filter networks of all layers on the knots."""

    w1: np.ndarray  # (L, K, F), as (in, out)
    w2: np.ndarray  # (L, F, F), as (in, out)
    w2_back: np.ndarray  # (L, F, F), as (out, in)
    hidden: np.ndarray  # (L, M + 2, F), act(h)
    hidden_first: np.ndarray  # (L, M + 2, F), act'(h)
    values: np.ndarray  # (L, M + 2, F)
    last_first: np.ndarray  # (L, M + 2, F) of the last activation, or (0, 0, 0) without one


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
def layer_of(flat, sizes, layer):
    """The part of a row of parameters, or of their gradients, that belongs to a layer."""
    f, k = sizes.channels, sizes.basis
    square, wide = f * f, k * f
    a = layer * (4 * square + wide + 5 * f)
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
    f, r = sizes.channels, sizes.hidden
    a = flat.shape[0] - r * f - 2 * r - 1
    b = a + r * f
    return Readout(flat[a:b].reshape(r, f), flat[b : b + r], flat[b + r : b + 2 * r], flat[-1:])


@parallel
def tabulate(flat, sizes, weights, filters, basis, activated):
    """Put all weights in their places, run the filter networks, make spline coefficients."""
    readout = readout_of(flat, sizes)
    _turn(readout.r1, weights.r1)
    weights.r1_back[:] = readout.r1
    weights.s1[:] = readout.s1
    weights.r2[:] = readout.r2
    weights.s2[:] = readout.s2
    for layer in prange(sizes.layers):
        _unpack(layer_of(flat, sizes, layer), layer, weights, filters)
    chunks = (basis.shape[0] + _ROWS - 1) // _ROWS
    for part in prange(sizes.layers * chunks):
        layer, chunk = part // chunks, part % chunks
        rows = chunk * _ROWS, min((chunk + 1) * _ROWS, basis.shape[0])
        _sample(layer_of(flat, sizes, layer), layer, filters, basis, rows, activated)
    for part in prange(sizes.layers * chunks):
        layer, chunk = part // chunks, part % chunks
        values, table = filters.values[layer], weights.tables[layer]
        for m in range(chunk * _ROWS, min((chunk + 1) * _ROWS, table.shape[0])):
            coefficient(values, m, table[m])


@serial
def _unpack(own, layer, weights, filters):
    _turn(own.w1, weights.w1[layer])
    _turn(own.w2, weights.w2[layer])
    _turn(own.w3, weights.w3[layer])
    weights.w1_back[layer] = own.w1
    weights.w2_back[layer] = own.w2
    weights.w3_back[layer] = own.w3
    weights.b1[layer] = own.b1
    weights.b2[layer] = own.b2
    weights.b3[layer] = own.b3
    _turn(own.filter_w1, filters.w1[layer])
    _turn(own.filter_w2, filters.w2[layer])
    filters.w2_back[layer] = own.filter_w2


@serial
def _turn(weight, out):
    """Write the transpose."""
    for k in range(out.shape[0]):
        for f in range(out.shape[1]):
            out[k, f] = weight[f, k]


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


@serial
def _sample(own, layer, filters, basis, rows, activated):
    """The filter network on some of the knots."""
    part = slice(rows[0], rows[1])
    hidden, first = filters.hidden[layer, part], filters.hidden_first[layer, part]
    values = filters.values[layer, part]
    hidden[:] = own.filter_b1
    first_k, last_k = _present(basis[part])
    add_products(basis[part, first_k:last_k], filters.w1[layer, first_k:last_k], hidden)
    softplus_of(hidden.reshape(-1), first.reshape(-1))
    values[:] = own.filter_b2
    add_products(hidden, filters.w2[layer], values)
    if activated:
        softplus_of(values.reshape(-1), filters.last_first[layer, part].reshape(-1))


@parallel
def filters_reverse(sizes, filters, basis, tables, gradient, activated):
    """From the threads' gradients for the tables to those for all parameters, in gradient[0]."""
    threads, chunks = gradient.shape[0], (basis.shape[0] + _ROWS - 1) // _ROWS
    for task in prange(threads):
        for layer in range(sizes.layers):
            own = layer_of(gradient[task], sizes, layer)
            w1_bar = np.zeros((sizes.basis, sizes.channels), gradient.dtype)
            for chunk in range(task * chunks // threads, (task + 1) * chunks // threads):
                rows = chunk * _ROWS, min((chunk + 1) * _ROWS, basis.shape[0])
                _reverse_rows(own, w1_bar, layer, filters, basis, tables, rows, activated)
            _turn(w1_bar, own.filter_w1)
    for part in prange((gradient.shape[1] + 4095) // 4096):
        for task in range(1, threads):
            for k in range(part * 4096, min((part + 1) * 4096, gradient.shape[1])):
                gradient[0, k] += gradient[task, k]


@serial
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
