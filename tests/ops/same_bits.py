"""Run by a test in a process of its own: the same bits whatever the number of threads."""

import hashlib
import os
from unittest.mock import patch

os.environ["NUMBA_NUM_THREADS"] = "2"

import numba  # noqa: E402
import torch  # noqa: E402

from schnetgeo.ops import numba_backend  # noqa: E402
from tests.ops.graphs import random_case  # noqa: E402


def digest(case, threads: int) -> str:
    numba.set_num_threads(threads)
    x, y, table, interval, weights, edges = case
    dx, dy, dweights = x.flip(0), y.flip(0), weights.flip(1)
    by_interval = numba_backend.sort_by_interval(interval, table.size(0))
    found = hashlib.sha256()
    calls = {
        "spline_conv": (x.shape, (x, table, interval, weights)),
        "spline_conv_tangent": (x.shape, (x, dx, table, interval, weights, dweights)),
        "edge_gradient": (interval.shape, (x, y, table, interval, weights)),
        "spline_conv_grad_weights": (weights.shape, (x, y, table, interval)),
        "spline_conv_grad_table": (table.shape, (x, y, by_interval, weights)),
        "spline_conv_grad_table_tangent": (
            table.shape,
            (x, y, dx, dy, by_interval, weights, dweights),
        ),
    }
    for name, (shape, arguments) in calls.items():
        out = x.new_zeros(shape)
        getattr(numba_backend, name)(*arguments, edges, out)
        found.update(out.numpy().tobytes())
    return found.hexdigest()


for dtype in (torch.float32, torch.float64):
    case = random_case(atoms=300, pairs=4000, channels=33, knots=500, dtype=dtype)
    assert len({digest(case, threads) for threads in (1, 2, 2, 1)}) == 1, dtype
    with patch("schnetgeo.ops.jit._has_lost_threads", True):  # as in a child of fork
        lost = digest(case, 1)
    assert lost == digest(case, 2), dtype
