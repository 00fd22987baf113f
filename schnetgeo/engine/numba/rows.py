"""Sums and products of registers with broadcasting, compiled."""

from schnetgeo.ops.jit import standalone


@standalone
def add_product(x, y, out):
    """Add x ⊙ y to out, arrays (N, C, F).

    A dimension that is 1 in x or y counts for all of the others'; one that is 1 in out is summed.
    """
    rows = max(x.shape[0], y.shape[0], out.shape[0])
    components = max(x.shape[1], y.shape[1], out.shape[1])
    if x.shape[2] < y.shape[2]:
        x, y = y, x
    channels = max(x.shape[2], out.shape[2])
    zero = out.dtype.type(0)
    for i in range(rows):
        for c in range(components):
            p = x[min(i, x.shape[0] - 1), min(c, x.shape[1] - 1)]
            q = y[min(i, y.shape[0] - 1), min(c, y.shape[1] - 1)]
            r = out[min(i, out.shape[0] - 1), min(c, out.shape[1] - 1)]
            if p.shape[0] < channels:  # two numbers for a row
                both = p[0] * q[0]
                for f in range(channels):
                    r[f] += both
            elif r.shape[0] < channels:
                total = zero
                if q.shape[0] < channels:
                    for f in range(channels):
                        total += p[f]
                    total *= q[0]
                else:
                    for f in range(channels):
                        total += p[f] * q[f]
                r[0] += total
            elif q.shape[0] < channels:
                factor = q[0]
                for f in range(channels):
                    r[f] += p[f] * factor
            else:
                for f in range(channels):
                    r[f] += p[f] * q[f]


@standalone
def add_scaled(x, scale, out):
    """Add scale · x to out, with the dimensions of `add_product`."""
    rows, components = max(x.shape[0], out.shape[0]), max(x.shape[1], out.shape[1])
    channels, zero = max(x.shape[2], out.shape[2]), out.dtype.type(0)
    for i in range(rows):
        for c in range(components):
            p = x[min(i, x.shape[0] - 1), min(c, x.shape[1] - 1)]
            r = out[min(i, out.shape[0] - 1), min(c, out.shape[1] - 1)]
            if r.shape[0] < channels:
                total = zero
                for f in range(channels):
                    total += p[f]
                r[0] += scale * total
            elif p.shape[0] < channels:
                factor = scale * p[0]
                for f in range(channels):
                    r[f] += factor
            else:
                for f in range(channels):
                    r[f] += scale * p[f]


@standalone
def multiply_in_place(x, out):
    """Multiply out by x, both (N,)."""
    for n in range(out.shape[0]):
        out[n] *= x[n]


@standalone
def fill(value, out):
    """Set each number of out, (N,)."""
    for n in range(out.shape[0]):
        out[n] = value


@standalone
def copy(x, out):
    """Copy x to out, both (N,)."""
    for n in range(out.shape[0]):
        out[n] = x[n]
