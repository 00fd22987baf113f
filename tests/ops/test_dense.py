import numba
import numpy as np
import pytest

from schnetgeo.ops.dense import add_outer, add_products, add_rows


@numba.njit
def add_all(x, y, weight, out, outer, total):
    add_products(x, weight, out)
    add_outer(x, y, outer)
    add_rows(y, total)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", range(14))
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (3, 4), (8, 5), (6, 16), (5, 83)])
def test_products(rows, inputs, outputs, dtype):
    """Tiles, strips and what is left of them; nothing beside the result is written."""
    random = np.random.default_rng(rows)
    x, y, weight = (
        random.random(shape).astype(dtype)
        for shape in ((rows, inputs), (rows, outputs), (inputs, outputs))
    )
    room = random.random((rows + 2, outputs)).astype(dtype)
    out, outer, total = room.copy()[1:-1], weight.copy(), weight[0].copy()
    add_all(x, y, weight, out, outer, total)
    tolerance = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(out, room[1:-1] + x @ weight, rtol=tolerance)
    np.testing.assert_allclose(outer, weight + x.T @ y, rtol=tolerance)
    np.testing.assert_allclose(total, weight[0] + y.sum(0), rtol=tolerance)
    assert (out.base[[0, -1]] == room[[0, -1]]).all()
