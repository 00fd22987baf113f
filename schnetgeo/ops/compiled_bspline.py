"""Cubic B-splines of `bspline`, compiled, for one place, knot or coefficient at a time."""

from schnetgeo.ops.jit import inner


@inner
def b_spline(t, factor, out):
    """Write factor · B_q(t), q = 0 … 3."""
    s, sixth = 1 - t, factor / 6
    out[0], out[3] = sixth * s * s * s, sixth * t * t * t
    out[1] = sixth * (4 - 6 * t * t) + 3 * out[3]
    out[2] = sixth * (4 - 6 * s * s) + 3 * out[0]


@inner
def add_b_spline_slope(t, factor, out):
    """Add factor · B_q′(t), q = 0 … 3."""
    s, half = 1 - t, factor / 2
    out[0] -= half * s * s
    out[1] += half * (3 * t * t - 4 * t)
    out[2] += half * (4 * s - 3 * s * s)
    out[3] += half * t * t


@inner
def coefficient(samples, m, out):
    """Write c_m = (−W_{m−1} + 8 W_m − W_{m+1}) / 6, where samples begin one knot earlier."""
    near, far = samples.dtype.type(8 / 6), samples.dtype.type(1 / 6)
    for f in range(out.shape[0]):
        out[f] = near * samples[m + 1, f] - far * (samples[m, f] + samples[m + 2, f])


@inner
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
