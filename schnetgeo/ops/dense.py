"""Small matrix products for functions that are compiled as a whole, without a call to a library."""

from schnetgeo.ops.cpu import serial


@serial
def add_products(x, weight, out):
    """Add x W to out, three rows of x and four of W at a time, so that registers are used well."""
    rows, inputs = x.shape
    whole, threes = inputs // 4 * 4, rows // 3 * 3
    for i in range(0, threes, 3):
        a, b, c = x[i], x[i + 1], x[i + 2]
        out_a, out_b, out_c = out[i], out[i + 1], out[i + 2]
        for k in range(0, whole, 4):
            a0, a1, a2, a3 = a[k], a[k + 1], a[k + 2], a[k + 3]
            b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
            c0, c1, c2, c3 = c[k], c[k + 1], c[k + 2], c[k + 3]
            w0, w1, w2, w3 = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
            for f in range(out_a.shape[0]):
                v0, v1, v2, v3 = w0[f], w1[f], w2[f], w3[f]
                out_a[f] += a0 * v0 + a1 * v1 + a2 * v2 + a3 * v3
                out_b[f] += b0 * v0 + b1 * v1 + b2 * v2 + b3 * v3
                out_c[f] += c0 * v0 + c1 * v1 + c2 * v2 + c3 * v3
    for i in range(threes, rows):
        a, out_a = x[i], out[i]
        for k in range(0, whole, 4):
            a0, a1, a2, a3 = a[k], a[k + 1], a[k + 2], a[k + 3]
            w0, w1, w2, w3 = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
            for f in range(out_a.shape[0]):
                out_a[f] += a0 * w0[f] + a1 * w1[f] + a2 * w2[f] + a3 * w3[f]
    for i in range(rows):
        for k in range(whole, inputs):
            for f in range(out.shape[1]):
                out[i, f] += x[i, k] * weight[k, f]


@serial
def add_outer(x, y, out):
    """Add xᵀ y to out, four rows of x and y and two of the result at a time."""
    rows, columns = x.shape
    fours, pairs = rows // 4 * 4, columns // 2 * 2
    for i in range(0, fours, 4):
        x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
        y0, y1, y2, y3 = y[i], y[i + 1], y[i + 2], y[i + 3]
        for k in range(0, pairs, 2):
            a0, a1, a2, a3 = x0[k], x1[k], x2[k], x3[k]
            b0, b1, b2, b3 = x0[k + 1], x1[k + 1], x2[k + 1], x3[k + 1]
            out_a, out_b = out[k], out[k + 1]
            for f in range(out_a.shape[0]):
                v0, v1, v2, v3 = y0[f], y1[f], y2[f], y3[f]
                out_a[f] += a0 * v0 + a1 * v1 + a2 * v2 + a3 * v3
                out_b[f] += b0 * v0 + b1 * v1 + b2 * v2 + b3 * v3
        for k in range(pairs, columns):
            for f in range(out.shape[1]):
                out[k, f] += x0[k] * y0[f] + x1[k] * y1[f] + x2[k] * y2[f] + x3[k] * y3[f]
    for i in range(fours, rows):
        for k in range(columns):
            a = x[i, k]
            for f in range(out.shape[1]):
                out[k, f] += a * y[i, f]


@serial
def add_rows(x, out):
    """Add Σ_i x_i to out."""
    for i in range(x.shape[0]):
        for f in range(out.shape[0]):
            out[f] += x[i, f]
