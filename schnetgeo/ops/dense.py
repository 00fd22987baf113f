"""Small matrix products for functions that are compiled as a whole, without a call to a library."""

from schnetgeo.ops.jit import serial
from schnetgeo.ops.tile import ROWS, VECTORS, add_tile, lanes


def _strips(vectors: int, turned: int):
    """A function for columns that are so many vectors wide, all rows."""

    @serial
    def add_strip(a, b, out, column):
        row, rows = 0, out.shape[0]
        while row + ROWS <= rows:
            add_tile(a, b, out, row, column, ROWS, vectors, turned)
            row += ROWS
        while row + 2 <= rows:
            add_tile(a, b, out, row, column, 2, vectors, turned)
            row += 2
        if row < rows:
            add_tile(a, b, out, row, column, 1, vectors, turned)

    return add_strip


_wide, _narrow = _strips(VECTORS, 0), _strips(1, 0)
_wide_turned, _narrow_turned = _strips(VECTORS, 1), _strips(1, 1)


@serial
def add_products(x, weight, out):
    """Add x W to out."""
    columns, narrow = out.shape[1], lanes(out.itemsize)
    column, wide = 0, VECTORS * narrow
    while column + wide <= columns:
        _wide(x, weight, out, column)
        column += wide
    while column + narrow <= columns:
        _narrow(x, weight, out, column)
        column += narrow
    if column < columns:
        for i in range(out.shape[0]):
            for k in range(x.shape[1]):
                for f in range(column, columns):
                    out[i, f] += x[i, k] * weight[k, f]


@serial
def add_outer(x, y, out):
    """Add xᵀ y to out."""
    columns, narrow = out.shape[1], lanes(out.itemsize)
    column, wide = 0, VECTORS * narrow
    while column + wide <= columns:
        _wide_turned(x, y, out, column)
        column += wide
    while column + narrow <= columns:
        _narrow_turned(x, y, out, column)
        column += narrow
    if column < columns:
        for i in range(x.shape[0]):
            for k in range(out.shape[0]):
                for f in range(column, columns):
                    out[k, f] += x[i, k] * y[i, f]


@serial
def add_rows(x, out):
    """Add Σ_i x_i to out."""
    for i in range(x.shape[0]):
        for f in range(out.shape[0]):
            out[f] += x[i, f]
