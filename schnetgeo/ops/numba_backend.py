"""The spline operators compiled by Numba, parallel on the CPU.

Each row of a result is summed by one thread in the order of the edges, so the bits do not depend
on the number of threads.
"""

import numpy as np
import torch
from torch import Tensor

from schnetgeo.errors import InputError
from schnetgeo.ops import numba_kernels as kernels
from schnetgeo.ops import threads, torch_backend
from schnetgeo.ops.bspline import Grid
from schnetgeo.ops.compiled_edges import first_edges
from schnetgeo.ops.edges import Edges
from schnetgeo.ops.jit import match_threads  # noqa: F401 get_backend calls it
from schnetgeo.ops.torch_backend import copy_padded  # noqa: F401

_EDGES = 2048  # that another thread is worth


def as_array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def is_sorted(numbers) -> bool:
    return kernels.is_sorted(as_array(numbers))


def row_pointers(source, target, reverse, shift, num):
    crossed = shift.numpy() if shift is not None else np.empty((0, 3), np.int64)
    pointers = first_edges(*_arrays(source, target, reverse), crossed, num)
    if pointers[0] < 0:
        return torch_backend.row_pointers(source, target, reverse, shift, num)
    return torch.from_numpy(pointers)


def edge_lengths(pos, source, target, offset, vectors, distance):
    offset = pos[:0] if offset is None else offset
    arrays = _arrays(pos, source, target, offset, vectors, distance)
    if kernels.edge_lengths(*arrays):
        raise InputError(f"edge_index must lie in 0 … {len(pos) - 1}; build edges with with_edges")


def add_forces(slope, vectors, distance, source, target, out):
    kernels.add_forces(*_arrays(slope, vectors, distance, source, target, out))


def add_forces_vjp(y, vectors, distance, source, target, out):
    kernels.add_forces_vjp(*_arrays(y, vectors, distance, source, target, out))


def cosine_cutoff(distance, cutoff: float, f, df):
    arrays, count = _arrays(distance, f, df), distance.numel()
    tasks = min(threads.num_threads(), 1 + count // _EDGES)

    def run(task: int) -> None:
        part = (a[task * count // tasks : (task + 1) * count // tasks] for a in arrays)
        kernels.cosine_cutoff(cutoff, *part)

    threads.run(run, tasks)


def knot_weights(distance, f, df, grid: Grid, interval, weights, slopes):
    kernels.knot_weights(*_arrays(distance, f, df), grid, *_arrays(interval, weights, slopes))


def spline_conv(x, table, interval, weights, edges: Edges, out):
    kernels.spline_conv(
        *_arrays(x, table, interval, weights, edges.source, edges.row_pointers, out)
    )


def spline_conv_tangent(x, dx, table, interval, weights, dweights, edges: Edges, out):
    graph = edges.source, edges.row_pointers
    kernels.spline_conv_tangent(*_arrays(x, dx, table, interval, weights, dweights, *graph, out))


def edge_gradient(x, y, table, interval, slopes, edges: Edges, out):
    kernels.edge_gradient(
        *_arrays(x, y, table, interval, slopes, edges.source, edges.row_pointers, out)
    )


def spline_conv_grad_weights(x, y, table, interval, edges: Edges, out):
    kernels.spline_conv_grad_weights(
        *_arrays(x, y, table, interval, edges.source, edges.row_pointers, out)
    )


def sort_by_interval(interval, num_knots: int) -> tuple[np.ndarray, np.ndarray]:
    return kernels.sort_by_interval(*_arrays(interval), num_knots)


def spline_conv_grad_table(x, y, sorted_edges, weights, edges: Edges, out):
    graph = edges.source, edges.target
    kernels.spline_conv_grad_table(*_arrays(x, y), *sorted_edges, *_arrays(weights, *graph, out))


def spline_conv_grad_table_tangent(
    x, y, dx, dy, sorted_edges, weights, dweights, edges: Edges, out
):
    arrays = _arrays(weights, dweights, edges.source, edges.target, out)
    kernels.spline_conv_grad_table_tangent(*_arrays(x, y, dx, dy), *sorted_edges, *arrays)


def shifted_softplus(h, value, first, second):
    h, *out = (t.reshape(-1) for t in _arrays(h, value, first, second))
    kernels.shifted_softplus(h, *out)


def spline_coefficients(samples, out):
    kernels.spline_coefficients(*_arrays(samples, out))


def spline_coefficients_transpose(bar, out):
    kernels.spline_coefficients_transpose(*_arrays(bar, out))


def _arrays(*tensors) -> list[np.ndarray]:
    return [t if isinstance(t, np.ndarray) else as_array(t) for t in tensors]
