"""The spline operators compiled by Numba, parallel on the CPU.

Each row of a result is summed by one thread in the order of the edges, so the bits do not depend
on the number of threads.
"""

import numba
import numpy as np
import torch
from numba import njit, prange, types
from numba.extending import overload
from torch import Tensor

from schnetgeo.ops.edges import Edges

_BLOCKS = 64  # of neighboring knots, each summed by one thread
_CHUNK = 2048  # numbers that one thread takes through an activation


def match_threads() -> None:
    """Use as many threads as torch does."""
    threads = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
    if threads != numba.get_num_threads():
        numba.set_num_threads(threads)


def prepare(tensor: Tensor) -> np.ndarray:
    """What the functions below take for a tensor: converting once saves microseconds a call."""
    return tensor.detach().contiguous().numpy()


def place(t, f, df, spacing: float, weights, slopes):
    _place(*_arrays(t, f, df), spacing, *_arrays(weights, slopes))


def conv(x, table, interval, weights, edges: Edges, out):
    _conv(*_arrays(x, table, interval, weights, edges.source, edges.start, out))


def conv_tangent(x, dx, table, interval, weights, dweights, edges: Edges, out):
    graph = edges.source, edges.start
    _conv_tangent(*_arrays(x, dx, table, interval, weights, dweights, *graph, out))


def slope(x, y, table, interval, slopes, edges: Edges, out):
    _slope(*_arrays(x, y, table, interval, slopes, edges.source, edges.start, out))


def dot(x, y, table, interval, edges: Edges, out):
    _dot(*_arrays(x, y, table, interval, edges.source, edges.start, out))


def table(x, y, interval, weights, edges: Edges, out):
    _table(*_arrays(x, y, interval, weights, edges.source, edges.target, out))


def table_tangent(x, y, dx, dy, interval, weights, dweights, edges: Edges, out):
    graph = edges.source, edges.target
    _table_tangent(*_arrays(x, y, dx, dy, interval, weights, dweights, *graph, out))


def softplus(h, value, first, second):
    """ln(½ eʰ + ½) and its derivatives, σ and σ (1 − σ)."""
    h, *out = (t.reshape(-1) for t in _arrays(h, value, first, second))
    _softplus(h, *out)


def coefficients(samples, out):
    """As `bspline.coefficients`."""
    _coefficients(*_arrays(samples, out))


def coefficients_adjoint(bar, out):
    """As `bspline.coefficients_adjoint`."""
    _coefficients_adjoint(*_arrays(bar, out))


def _arrays(*tensors) -> list[np.ndarray]:
    return [t if isinstance(t, np.ndarray) else prepare(t) for t in tensors]


_OPTIONS = dict(
    cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"}
)
parallel, serial = njit(parallel=True, **_OPTIONS), njit(**_OPTIONS)


@parallel
def _place(t, f, df, spacing, weights, slopes):
    inverse = t.dtype.type(1 / spacing)
    for e in prange(t.shape[0]):
        b_spline(t[e], f[e], weights[e])
        b_spline(t[e], df[e], slopes[e])
        add_b_spline_slope(t[e], f[e] * inverse, slopes[e])


@parallel
def _conv(x, table, interval, weights, source, start, out):
    for i in prange(x.shape[0]):
        out[i] = 0
        for e in range(start[i], start[i + 1]):
            j, k = source[e], interval[e]
            w0, w1, w2, w3 = weights[e, 0], weights[e, 1], weights[e, 2], weights[e, 3]
            for f in range(x.shape[1]):
                c0, c1, c2, c3 = table[k, f], table[k + 1, f], table[k + 2, f], table[k + 3, f]
                out[i, f] += x[j, f] * (w0 * c0 + w1 * c1 + w2 * c2 + w3 * c3)


@parallel
def _conv_tangent(x, dx, table, interval, weights, dweights, source, start, out):
    for i in prange(x.shape[0]):
        out[i] = 0
        for e in range(start[i], start[i + 1]):
            j, k = source[e], interval[e]
            w0, w1, w2, w3 = weights[e, 0], weights[e, 1], weights[e, 2], weights[e, 3]
            d0, d1, d2, d3 = dweights[e, 0], dweights[e, 1], dweights[e, 2], dweights[e, 3]
            for f in range(x.shape[1]):
                c0, c1, c2, c3 = table[k, f], table[k + 1, f], table[k + 2, f], table[k + 3, f]
                out[i, f] += dx[j, f] * (w0 * c0 + w1 * c1 + w2 * c2 + w3 * c3)
                out[i, f] += x[j, f] * (d0 * c0 + d1 * c1 + d2 * c2 + d3 * c3)


@parallel
def _slope(x, y, table, interval, slopes, source, start, out):
    zero = x.dtype.type(0)
    for i in prange(x.shape[0]):
        for e in range(start[i], start[i + 1]):
            j, k = source[e], interval[e]
            d0, d1, d2, d3 = slopes[e, 0], slopes[e, 1], slopes[e, 2], slopes[e, 3]
            total = zero
            for f in range(x.shape[1]):
                c0, c1, c2, c3 = table[k, f], table[k + 1, f], table[k + 2, f], table[k + 3, f]
                total += x[j, f] * y[i, f] * (d0 * c0 + d1 * c1 + d2 * c2 + d3 * c3)
            out[e] += total


@parallel
def _dot(x, y, table, interval, source, start, out):
    zero = x.dtype.type(0)
    for i in prange(x.shape[0]):
        for e in range(start[i], start[i + 1]):
            j, k = source[e], interval[e]
            s0, s1, s2, s3 = zero, zero, zero, zero
            for f in range(x.shape[1]):
                product = x[j, f] * y[i, f]
                s0 += product * table[k, f]
                s1 += product * table[k + 1, f]
                s2 += product * table[k + 2, f]
                s3 += product * table[k + 3, f]
            out[e, 0], out[e, 1], out[e, 2], out[e, 3] = s0, s1, s2, s3


@parallel
def _table(x, y, interval, weights, source, target, out):
    order, first = _by_interval(interval, out.shape[0])
    out[:] = 0
    # a block writes three rows into the next one: even blocks first, then odd ones
    size = max(4, (out.shape[0] + _BLOCKS - 1) // _BLOCKS)
    blocks = (out.shape[0] + size - 1) // size
    for parity in range(2):
        for half in prange((blocks + 1 - parity) // 2):
            begin = (2 * half + parity) * size
            sums = np.empty((4, x.shape[1]), x.dtype)
            s0, s1, s2, s3 = sums[0], sums[1], sums[2], sums[3]
            for k in range(begin, min(begin + size, out.shape[0] - 3)):
                if first[k] == first[k + 1]:
                    continue
                sums[:] = 0
                for n in range(first[k], first[k + 1]):
                    e = order[n]
                    i, j = target[e], source[e]
                    w0, w1, w2, w3 = weights[e, 0], weights[e, 1], weights[e, 2], weights[e, 3]
                    for f in range(x.shape[1]):
                        product = x[j, f] * y[i, f]
                        s0[f] += w0 * product
                        s1[f] += w1 * product
                        s2[f] += w2 * product
                        s3[f] += w3 * product
                for q in range(4):
                    out[k + q] += sums[q]


@parallel
def _table_tangent(x, y, dx, dy, interval, weights, dweights, source, target, out):
    order, first = _by_interval(interval, out.shape[0])
    out[:] = 0
    size = max(4, (out.shape[0] + _BLOCKS - 1) // _BLOCKS)
    blocks = (out.shape[0] + size - 1) // size
    for parity in range(2):
        for half in prange((blocks + 1 - parity) // 2):
            begin = (2 * half + parity) * size
            sums = np.empty((4, x.shape[1]), x.dtype)
            s0, s1, s2, s3 = sums[0], sums[1], sums[2], sums[3]
            for k in range(begin, min(begin + size, out.shape[0] - 3)):
                if first[k] == first[k + 1]:
                    continue
                sums[:] = 0
                for n in range(first[k], first[k + 1]):
                    e = order[n]
                    i, j = target[e], source[e]
                    w0, w1, w2, w3 = weights[e, 0], weights[e, 1], weights[e, 2], weights[e, 3]
                    d0, d1, d2, d3 = dweights[e, 0], dweights[e, 1], dweights[e, 2], dweights[e, 3]
                    for f in range(x.shape[1]):
                        product = x[j, f] * y[i, f] + dx[j, f] * dy[i, f]
                        moved = x[j, f] * dy[i, f]
                        s0[f] += w0 * product + d0 * moved
                        s1[f] += w1 * product + d1 * moved
                        s2[f] += w2 * product + d2 * moved
                        s3[f] += w3 * product + d3 * moved
                for q in range(4):
                    out[k + q] += sums[q]


@parallel
def _softplus(h, value, first, second):
    for chunk in prange((h.shape[0] + _CHUNK - 1) // _CHUNK):
        part = slice(chunk * _CHUNK, min((chunk + 1) * _CHUNK, h.shape[0]))
        power = np.empty(_CHUNK, h.dtype)
        softplus_of(h[part], value[part], first[part], power.view(integers(h)), power)
        curvature(first[part], second[part])


@parallel
def _coefficients(samples, out):
    for m in prange(out.shape[0]):
        coefficient(samples, m, out[m])


@parallel
def _coefficients_adjoint(bar, out):
    for m in prange(out.shape[0]):
        out[m] = 0
        add_coefficient_adjoint(bar, m, out[m])


def integers(array):
    """The type of integers as wide as its numbers."""


def _last_power(number):
    """Of the series of the exponential that its type can tell from the function."""


def _last_odd(number):
    """Of the series of the logarithm."""


@overload(integers, inline="always")
def _(array):
    kind = np.int32 if array.dtype == types.float32 else np.int64
    return lambda array: kind


@overload(_last_power, inline="always")
def _(number):
    last = 7 if number == types.float32 else 13
    return lambda number: last


@overload(_last_odd, inline="always")
def _(number):
    last = 15 if number == types.float32 else 35
    return lambda number: last


@serial
def b_spline(t, factor, out):
    """Write factor · B_q(t), q = 0 … 3."""
    s, sixth = 1 - t, factor / 6
    out[0], out[3] = sixth * s * s * s, sixth * t * t * t
    out[1] = sixth * (4 - 6 * t * t) + 3 * out[3]
    out[2] = sixth * (4 - 6 * s * s) + 3 * out[0]


@serial
def add_b_spline_slope(t, factor, out):
    """Add factor · B_q′(t), q = 0 … 3."""
    s, half = 1 - t, factor / 2
    out[0] -= half * s * s
    out[1] += half * (3 * t * t - 4 * t)
    out[2] += half * (4 * s - 3 * s * s)
    out[3] += half * t * t


@serial
def coefficient(samples, m, out):
    """Write c_m = (−W_{m−1} + 8 W_m − W_{m+1}) / 6, where samples begin one knot earlier."""
    near, far = samples.dtype.type(8 / 6), samples.dtype.type(1 / 6)
    for f in range(out.shape[0]):
        out[f] = near * samples[m + 1, f] - far * (samples[m, f] + samples[m + 2, f])


@serial
def add_coefficient_adjoint(bar, m, out):
    """Add the gradient for sample m, which is in coefficients m − 2, m − 1 and m."""
    near, far, last = bar.dtype.type(8 / 6), bar.dtype.type(1 / 6), bar.shape[0]
    if 0 < m <= last:
        for f in range(out.shape[0]):
            out[f] += near * bar[m - 1, f]
    if m < last:
        for f in range(out.shape[0]):
            out[f] -= far * bar[m, f]
    if m > 1:
        for f in range(out.shape[0]):
            out[f] -= far * bar[m - 2, f]


@serial
def curvature(first, second):
    """The second derivative of the shifted softplus, σ (1 − σ), from the first."""
    for n in range(first.shape[0]):
        second[n] = first[n] - first[n] * first[n]


@serial
def softplus_of(h, value, first, bits, power):
    """One row at a time; `power` shares the memory of `bits`, for as many numbers."""
    number = h.dtype.type
    exp_minus(h, first, bits, power)
    for n in range(h.shape[0]):
        small, sign = first[n], h[n]
        z = small / (2 + small)
        square = z * z
        series = number(0)
        for odd in range(_last_odd(sign), 0, -2):  # ln(1 + y) = 2 artanh(y / (2 + y))
            series = series * square + number(1) / odd
        sigmoid = 1 / (1 + small)
        first[n] = sigmoid if sign > 0 else small * sigmoid
        value[n] = max(sign, number(0)) + 2 * z * series - number(0.6931471805599453)


@serial
def exp_minus(h, out, bits, power):
    """Write e^−|h|: a power of two, put together from its bits, times a polynomial."""
    number = h.dtype.type
    one, log2 = number(1), number(0.6931471805599453)
    bias, mantissa = (127, 23) if power.itemsize == 4 else (1023, 52)
    for n in range(h.shape[0]):
        twos = min(np.floor(abs(h[n]) / log2 + number(0.5)), number(bias - 1))
        out[n] = max(twos * log2 - abs(h[n]), -log2)
        bits[n] = (bias - int(twos)) << mantissa
    for n in range(h.shape[0]):
        r, total = out[n], one
        for term in range(_last_power(r), 0, -1):
            total = one + r * (one / term) * total
        out[n] = total * power[n]


@njit(cache=True, nogil=True)
def _by_interval(interval, num_knots):
    """Edges ordered by interval, stably, and where each interval begins: a counting sort."""
    first = np.zeros(num_knots + 1, np.int64)
    for k in interval:
        first[k + 1] += 1
    for k in range(num_knots):
        first[k + 1] += first[k]
    position = first[:-1].copy()
    order = np.empty(interval.shape[0], np.int64)
    for e in range(interval.shape[0]):
        k = interval[e]
        order[position[k]] = e
        position[k] += 1
    return order, first
