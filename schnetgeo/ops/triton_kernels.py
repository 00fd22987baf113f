"""The kernels of `triton_backend`."""

import triton
import triton.language as tl


@triton.jit
def _numbers(BLOCK: tl.constexpr):
    return tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)


@triton.jit(do_not_specialize=["atoms", "edges"])
def copy_padded(
    z, weight, pointers, distance, source, target,
    to_z, to_weight, to_pointers, to_distance, to_source, to_target,
    atoms, edges, all_atoms, all_edges, cutoff, BLOCK: tl.constexpr,
):  # fmt: skip
    n = _numbers(BLOCK)
    real, room = n < atoms, n < all_atoms
    tl.store(to_z + n, tl.load(z + n, mask=real, other=0), mask=room)
    tl.store(to_weight + n, tl.load(weight + n, mask=real, other=0), mask=room)
    first = tl.where(n <= atoms, tl.load(pointers + n, mask=n <= atoms, other=0), edges)
    tl.store(to_pointers + n, first, mask=n <= all_atoms)
    real, room = n < edges, n < all_edges
    r = tl.load(distance + n, mask=real, other=0)
    j = tl.load(source + n, mask=real, other=0)
    i = tl.load(target + n, mask=real, other=0)
    tl.store(to_distance + n, tl.where(real, r, n * cutoff / all_edges), mask=room)
    tl.store(to_source + n, tl.where(real, j, all_atoms - 1), mask=room)
    tl.store(to_target + n, tl.where(real, i, all_atoms - 1), mask=room)


@triton.jit
def knot_weights(
    distance, f, df, interval, weights, slopes, size, begin, last,
    SPACING: tl.constexpr, CUTOFF: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    e = _numbers(BLOCK)
    real = e < size
    r = tl.load(distance + e, mask=real, other=0).to(tl.float64)
    u = tl.where(r < CUTOFF, r / SPACING - begin, 0.0)
    k = tl.minimum(tl.maximum(u.to(tl.int64), 0), last)
    tl.store(interval + e, k, mask=real)
    t = (u - k).to(f.dtype.element_ty)
    s, f_e, df_e = 1 - t, tl.load(f + e, mask=real), tl.load(df + e, mask=real)
    b0, b3 = s * s * s / 6, t * t * t / 6
    b1, b2 = (2 - 3 * t * t) / 3 + 3 * b3, (2 - 3 * s * s) / 3 + 3 * b0
    w, dw, per_h = weights + 4 * e, slopes + 4 * e, f_e / SPACING / 2
    tl.store(w, f_e * b0, mask=real)
    tl.store(w + 1, f_e * b1, mask=real)
    tl.store(w + 2, f_e * b2, mask=real)
    tl.store(w + 3, f_e * b3, mask=real)
    tl.store(dw, df_e * b0 - per_h * s * s, mask=real)
    tl.store(dw + 1, df_e * b1 + per_h * (3 * t * t - 4 * t), mask=real)
    tl.store(dw + 2, df_e * b2 + per_h * (4 * s - 3 * s * s), mask=real)
    tl.store(dw + 3, df_e * b3 + per_h * t * t, mask=real)


@triton.jit
def shifted_softplus(h, value, first, second, size, BLOCK: tl.constexpr):
    n = _numbers(BLOCK)
    x = tl.load(h + n, mask=n < size, other=0)
    small = tl.exp(-tl.abs(x))
    sigma = tl.where(x < 0, small, 1.0) / (1 + small)
    tl.store(value + n, tl.maximum(x, 0.0) + tl.log(1 + small) - 0.6931471805599453, mask=n < size)
    tl.store(first + n, sigma, mask=n < size)
    tl.store(second + n, sigma * (1 - sigma), mask=n < size)


@triton.jit
def spline_coefficients(samples, out, size, channels, BLOCK: tl.constexpr):
    n = _numbers(BLOCK)
    near = tl.load(samples + channels + n, mask=n < size, other=0)
    before = tl.load(samples + n, mask=n < size, other=0)
    after = tl.load(samples + channels + channels + n, mask=n < size, other=0)
    tl.store(out + n, (8 * near - before - after) / 6, mask=n < size)


@triton.jit
def spline_coefficients_transpose(bar, out, size, inner, channels, BLOCK: tl.constexpr):
    n = _numbers(BLOCK)
    m = n - channels
    near = tl.load(bar + m, mask=(m >= 0) & (m < inner), other=0)
    after = tl.load(bar + n, mask=n < inner, other=0)
    before = tl.load(bar + m - channels, mask=(m >= channels) & (n < size), other=0)
    tl.store(out + n, (8 * near - before - after) / 6, mask=n < size)


@triton.jit
def _rows(matrix, row, f, channels, mask):
    return tl.load(matrix + row[:, None] * channels + f[None, :], mask=mask, other=0)


@triton.jit
def _weight(weights, e, q, real):
    return tl.load(weights + e * 4 + q, mask=real, other=0)[:, None]


@triton.jit
def spline_conv(
    x, dx, table, interval, weights, dweights, source, pointers, out, channels, last,
    TANGENT: tl.constexpr, EDGES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64)
    f = tl.program_id(1).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    sums = tl.zeros((EDGES, BLOCK), x.dtype.element_ty)
    end = tl.load(pointers + i + 1)
    for begin in range(tl.load(pointers + i), end, EDGES):
        e = begin + tl.arange(0, EDGES)
        real = e < end
        j = tl.load(source + e, mask=real, other=0)
        k = tl.load(interval + e, mask=real, other=0)
        inside = (k >= 0) & (k <= last)
        mask = (real & inside)[:, None] & (f < channels)[None, :]
        filters = tl.zeros((EDGES, BLOCK), x.dtype.element_ty)
        dfilters = filters
        for q in tl.static_range(4):
            c = _rows(table, k + q, f, channels, mask)
            filters += _weight(weights, e, q, real) * c
            if TANGENT:
                dfilters += _weight(dweights, e, q, real) * c
        sums += filters * _rows(dx, j, f, channels, mask)
        if TANGENT:
            sums += dfilters * _rows(x, j, f, channels, mask)
        sums = tl.where(inside[:, None], sums, float("nan"))
    tl.store(out + i * channels + f, tl.sum(sums, 0), mask=f < channels)


@triton.jit
def edge_gradient(
    x, y, table, interval, slopes, source, pointers, out, channels, last,
    EDGES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64)
    end = tl.load(pointers + i + 1)
    for begin in range(tl.load(pointers + i), end, EDGES):
        e = begin + tl.arange(0, EDGES)
        real = e < end
        j = tl.load(source + e, mask=real, other=0)
        k = tl.load(interval + e, mask=real, other=0)
        inside = (k >= 0) & (k <= last)
        total = tl.load(out + e, mask=real, other=0)
        for block in range(0, channels, BLOCK):
            f = block + tl.arange(0, BLOCK)
            mask = (real & inside)[:, None] & (f < channels)[None, :]
            filters = tl.zeros((EDGES, BLOCK), x.dtype.element_ty)
            for q in tl.static_range(4):
                filters += _weight(slopes, e, q, real) * _rows(table, k + q, f, channels, mask)
            y_i = tl.load(y + i * channels + f, mask=f < channels, other=0)[None, :]
            total += tl.sum(_rows(x, j, f, channels, mask) * y_i * filters, 1)
        tl.store(out + e, tl.where(inside, total, float("nan")), mask=real)


@triton.jit
def spline_conv_grad_weights(
    x, y, table, interval, source, pointers, out, channels, last,
    EDGES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64)
    end = tl.load(pointers + i + 1)
    for begin in range(tl.load(pointers + i), end, EDGES):
        e = begin + tl.arange(0, EDGES)
        real = e < end
        j = tl.load(source + e, mask=real, other=0)
        k = tl.load(interval + e, mask=real, other=0)
        inside = (k >= 0) & (k <= last)
        for q in tl.static_range(4):
            total = tl.zeros((EDGES,), x.dtype.element_ty)
            for block in range(0, channels, BLOCK):
                f = block + tl.arange(0, BLOCK)
                mask = (real & inside)[:, None] & (f < channels)[None, :]
                y_i = tl.load(y + i * channels + f, mask=f < channels, other=0)[None, :]
                c = _rows(table, k + q, f, channels, mask)
                total += tl.sum(_rows(x, j, f, channels, mask) * y_i * c, 1)
            tl.store(out + e * 4 + q, tl.where(inside, total, float("nan")), mask=real)


@triton.jit(do_not_specialize=["edges", "chunk"])
def spline_conv_grad_table(
    x, y, dx, dy, weights, dweights, source, target, key, order, first, parts, channels,
    intervals, edges, chunk,
    TANGENT: tl.constexpr, EDGES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sums of a chunk's edges, by interval, for each of the four coefficients they touch."""
    number = tl.program_id(0).to(tl.int64)
    f = tl.program_id(1).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    begin = tl.maximum(number * chunk, tl.load(first))
    end = tl.minimum(number * chunk + chunk, tl.load(first + intervals))
    while begin < end:
        k = tl.load(key + begin).to(tl.int64)
        stop = tl.minimum(tl.load(first + k + 1), end)
        s0 = tl.zeros((EDGES, BLOCK), x.dtype.element_ty)
        s1, s2, s3 = s0, s0, s0
        for next in range(begin, stop, EDGES):
            n = next + tl.arange(0, EDGES)
            real = n < stop
            e = tl.load(order + n, mask=real, other=0)
            i = tl.load(target + e, mask=real, other=0)
            j = tl.load(source + e, mask=real, other=0)
            mask = real[:, None] & (f < channels)[None, :]
            x_j = _rows(x, j, f, channels, mask)
            product = x_j * _rows(y, i, f, channels, mask)
            if TANGENT:
                dy_i = _rows(dy, i, f, channels, mask)
                cross = x_j * dy_i
                product += _rows(dx, j, f, channels, mask) * dy_i
                s0 += _weight(dweights, e, 0, real) * cross
                s1 += _weight(dweights, e, 1, real) * cross
                s2 += _weight(dweights, e, 2, real) * cross
                s3 += _weight(dweights, e, 3, real) * cross
            s0 += _weight(weights, e, 0, real) * product
            s1 += _weight(weights, e, 1, real) * product
            s2 += _weight(weights, e, 2, real) * product
            s3 += _weight(weights, e, 3, real) * product
        row = parts + (number + k) * 4 * channels + f
        tl.store(row, tl.sum(s0, 0), mask=f < channels)
        tl.store(row + channels, tl.sum(s1, 0), mask=f < channels)
        tl.store(row + channels + channels, tl.sum(s2, 0), mask=f < channels)
        tl.store(row + channels + channels + channels, tl.sum(s3, 0), mask=f < channels)
        begin = stop


@triton.jit(do_not_specialize=["edges", "chunk"])
def merge(
    parts, first, out, channels, intervals, edges, chunk,
    EDGES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sum what the programs found in the last four intervals for one coefficient."""
    m = tl.program_id(0).to(tl.int64)
    f = tl.program_id(1).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    sums = tl.zeros((EDGES, BLOCK), parts.dtype.element_ty)
    # the first three coefficients and the last three belong to fewer than four intervals
    for q in range(tl.maximum(m - intervals + 1, 0), tl.minimum(m, 3) + 1):
        begin, end = tl.load(first + m - q), tl.load(first + m - q + 1)
        number, last = begin // chunk, tl.where(begin < end, (end - 1) // chunk, -1)
        for next in range(number, last + 1, EDGES):
            n = next + tl.arange(0, EDGES)
            mask = (n <= last)[:, None] & (f < channels)[None, :]
            sums += _rows(parts, (n + m - q) * 4 + q, f, channels, mask)
    beyond = (tl.load(first) > 0) | (tl.load(first + intervals) < edges)
    total = tl.where(beyond, float("nan"), tl.sum(sums, 0))
    tl.store(out + m * channels + f, total, mask=f < channels)
