"""The kernels of `numba_backend`."""

import math

import numpy as np
from numba import prange

from schnetgeo.ops.activations import curvature, softplus_of
from schnetgeo.ops.compiled_bspline import (
    add_b_spline_slope,
    add_coefficient_adjoint,
    b_spline,
    coefficient,
)
from schnetgeo.ops.jit import allocating, parallel, serial, standalone
from schnetgeo.ops.torch_backend import SMALLEST

_BLOCKS = 64  # of neighboring knots, each summed by one thread
_CHUNK = 2048  # numbers that one thread takes through an activation


@serial
def edge_lengths(pos, source, target, offset, vectors, distance):
    """The number of edges that name no atoms."""
    wrong, atoms = 0, pos.shape[0]
    for e in range(source.shape[0]):
        i, j = target[e], source[e]
        if not (0 <= i < atoms and 0 <= j < atoms):
            wrong += 1
            continue
        x, y, z = pos[j, 0] - pos[i, 0], pos[j, 1] - pos[i, 1], pos[j, 2] - pos[i, 2]
        if offset.shape[0]:
            x, y, z = x + offset[e, 0], y + offset[e, 1], z + offset[e, 2]
        vectors[e, 0], vectors[e, 1], vectors[e, 2] = x, y, z
        distance[e] = np.sqrt(x * x + y * y + z * z)
    return wrong


@serial
def add_forces(slope, vectors, distance, source, target, out):
    for e in range(slope.shape[0]):
        if slope[e] == 0:  # the second edge of a pair whose first has the slope of both
            continue
        i, j, force = target[e], source[e], slope[e] / max(distance[e], out.dtype.type(SMALLEST))
        for k in range(3):
            out[i, k] += force * vectors[e, k]
            out[j, k] -= force * vectors[e, k]


@serial
def add_forces_vjp(y, vectors, distance, source, target, out):
    for e in range(out.shape[0]):
        i, j, r = target[e], source[e], vectors[e]
        product = (y[i, 0] - y[j, 0]) * r[0] + (y[i, 1] - y[j, 1]) * r[1]
        product += (y[i, 2] - y[j, 2]) * r[2]
        out[e] = product / max(distance[e], y.dtype.type(SMALLEST))


@serial
def cosine_cutoff(cutoff, distance, f, df):
    number = distance.dtype.type
    scale, half = number(math.pi / cutoff), number(0.5)
    for e in range(distance.shape[0]):
        r = distance[e]
        if r < cutoff:
            f[e], df[e] = half * (np.cos(scale * r) + 1), -half * scale * np.sin(scale * r)
        else:
            f[e], df[e] = 0 * r, 0 * r  # NaN where a distance is


@serial
def knot_weights(distance, f, df, grid, interval, weights, slopes):
    number = distance.dtype.type
    for e in range(distance.shape[0]):
        u = distance[e] / grid.spacing - grid.first if distance[e] < grid.cutoff else 0.0
        k = min(max(int(u), 0), grid.count - 4)
        t, interval[e] = number(u - k), k
        b_spline(t, f[e], weights[e])
        b_spline(t, df[e], slopes[e])
        add_b_spline_slope(t, f[e] * number(1 / grid.spacing), slopes[e])


@parallel
def spline_conv(x, table, interval, weights, source, pointers, out):
    for i in prange(x.shape[0]):
        out[i] = 0
        for e in range(pointers[i], pointers[i + 1]):
            j, k = source[e], interval[e]
            w0, w1, w2, w3 = weights[e, 0], weights[e, 1], weights[e, 2], weights[e, 3]
            for f in range(x.shape[1]):
                c0, c1, c2, c3 = table[k, f], table[k + 1, f], table[k + 2, f], table[k + 3, f]
                out[i, f] += x[j, f] * (w0 * c0 + w1 * c1 + w2 * c2 + w3 * c3)


@parallel
def spline_conv_tangent(x, dx, table, interval, weights, dweights, source, pointers, out):
    for i in prange(x.shape[0]):
        out[i] = 0
        for e in range(pointers[i], pointers[i + 1]):
            j, k = source[e], interval[e]
            w0, w1, w2, w3 = weights[e, 0], weights[e, 1], weights[e, 2], weights[e, 3]
            d0, d1, d2, d3 = dweights[e, 0], dweights[e, 1], dweights[e, 2], dweights[e, 3]
            for f in range(x.shape[1]):
                c0, c1, c2, c3 = table[k, f], table[k + 1, f], table[k + 2, f], table[k + 3, f]
                out[i, f] += dx[j, f] * (w0 * c0 + w1 * c1 + w2 * c2 + w3 * c3)
                out[i, f] += x[j, f] * (d0 * c0 + d1 * c1 + d2 * c2 + d3 * c3)


@parallel
def edge_gradient(x, y, table, interval, slopes, source, pointers, out):
    for i in prange(x.shape[0]):
        _add_edge_gradients(
            x, y, table, interval, slopes, source, i, (pointers[i], pointers[i + 1]), out
        )


@standalone  # compiled once, so that sums have the same bits with and without threads
def _add_edge_gradients(x, y, table, interval, slopes, source, i, edges, out):
    for e in range(edges[0], edges[1]):
        j, k, total = source[e], interval[e], x.dtype.type(0)
        d0, d1, d2, d3 = slopes[e, 0], slopes[e, 1], slopes[e, 2], slopes[e, 3]
        for f in range(x.shape[1]):
            c0, c1, c2, c3 = table[k, f], table[k + 1, f], table[k + 2, f], table[k + 3, f]
            total += x[j, f] * y[i, f] * (d0 * c0 + d1 * c1 + d2 * c2 + d3 * c3)
        out[e] += total


@parallel
def spline_conv_grad_weights(x, y, table, interval, source, pointers, out):
    zero = x.dtype.type(0)
    for i in prange(x.shape[0]):
        for e in range(pointers[i], pointers[i + 1]):
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
def spline_conv_grad_table(x, y, order, first, weights, source, target, out):
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
def spline_conv_grad_table_tangent(
    x, y, dx, dy, order, first, weights, dweights, source, target, out
):
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
                        cross = x[j, f] * dy[i, f]
                        s0[f] += w0 * product + d0 * cross
                        s1[f] += w1 * product + d1 * cross
                        s2[f] += w2 * product + d2 * cross
                        s3[f] += w3 * product + d3 * cross
                for q in range(4):
                    out[k + q] += sums[q]


@parallel
def shifted_softplus(h, value, first, second):
    for chunk in prange((h.shape[0] + _CHUNK - 1) // _CHUNK):
        part = slice(chunk * _CHUNK, min((chunk + 1) * _CHUNK, h.shape[0]))
        value[part] = h[part]
        softplus_of(value[part], first[part])
        curvature(first[part], second[part])


@parallel
def spline_coefficients(samples, out):
    for m in prange(out.shape[0]):
        coefficient(samples, m, out[m])


@parallel
def spline_coefficients_transpose(bar, out):
    for m in prange(out.shape[0]):
        out[m] = 0
        add_coefficient_adjoint(bar, m, out[m])


@serial
def is_sorted(numbers):
    falls = 0
    for e in range(1, numbers.shape[0]):
        falls += numbers[e] < numbers[e - 1]
    return falls == 0


@allocating
def sort_by_interval(interval, num_knots):
    """A counting sort."""
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
