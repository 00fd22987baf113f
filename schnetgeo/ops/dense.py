"""Small matrix products for functions that are compiled as a whole, without a call to a library."""

from numba import types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic

from schnetgeo.ops.jit import inner, standalone
from schnetgeo.ops.tile import ROWS, VECTORS, add_tile, lanes


def _strip(vectors: int):
    """A function for columns that are so many vectors wide, all rows."""

    @inner
    def add_strip(a, b, out, column):
        row, rows = 0, out.shape[0]
        while row + ROWS <= rows:
            add_tile(a, b, out, row, column, ROWS, vectors)
            row += ROWS
        while row + 2 <= rows:
            add_tile(a, b, out, row, column, 2, vectors)
            row += 2
        if row < rows:
            add_tile(a, b, out, row, column, 1, vectors)

    return add_strip


_wide, _narrow = _strip(VECTORS), _strip(1)


@intrinsic
def _of_any_layout(typing, x):
    """The same array, of the type that arrays of all layouts share."""

    def generate(context, builder, signature, arguments):
        return impl_ret_borrowed(context, builder, signature.return_type, arguments[0])

    return types.Array(x.dtype, x.ndim, "A")(x), generate


@inner
def add_products(x, weight, out):
    """Add x W to out, where x may be the transpose of an array, or a part of one."""
    _add_products(_of_any_layout(x), weight, out)


@standalone
def _add_products(x, weight, out):
    columns, narrow = out.shape[1], lanes(out.itemsize)
    wide = VECTORS * narrow
    end_wide, end_narrow = columns // wide * wide, columns // narrow * narrow
    for column in range(0, end_wide, wide):
        _wide(x, weight, out, column)
    for column in range(end_wide, end_narrow, narrow):
        _narrow(x, weight, out, column)
    if end_narrow < columns:
        for i in range(out.shape[0]):
            for k in range(x.shape[1]):
                for f in range(end_narrow, columns):
                    out[i, f] += x[i, k] * weight[k, f]


@inner
def add_outer(x, y, out):
    """Add xᵀ y to out."""
    add_products(x.T, y, out)


@inner
def add_rows(x, out):
    """Add Σ_i x_i to out."""
    for i in range(x.shape[0]):
        for f in range(out.shape[0]):
            out[f] += x[i, f]
