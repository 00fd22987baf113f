"""The spline operators as Triton kernels, for CUDA.

A program sums the edges of one atom, or as many edges as others in the order of their intervals,
for a block of channels. What is added to what depends on the edges alone: no atomic operations, so
the same bits on every run; torch's sums of forces and of energies have no such order. Offsets have
64 bits. An edge beyond the table gives NaN, since an error would have to wait for the device.
"""

from typing import NamedTuple

import torch
import triton
from torch import Tensor

from schnetgeo.ops import triton_kernels as kernels
from schnetgeo.ops.bspline import Grid
from schnetgeo.ops.edges import Edges
from schnetgeo.ops.torch_backend import (  # noqa: F401
    add_forces,
    add_forces_vjp,
    cosine_cutoff,
    edge_lengths,
    is_sorted,
    row_pointers,
)


class _Tile(NamedTuple):
    """What a program takes at once: of ten tiles, those were the fastest on an H200."""

    edges: int
    channels: int  # at most
    warps: int


_CONV = _Tile(1, 128, 1)
_SLOPE = _Tile(8, 32, 1)
_DOT = _Tile(8, 32, 1)
_TABLE = _Tile(1, 128, 1)
_ELEMENTS = 1024  # of a program of an elementwise kernel
_PROGRAMS = 4096  # that share the edges for a table
_FEWEST = 32  # edges that one of them takes


def as_array(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous()


def copy_padded(batch: tuple[Tensor, ...], arrays: tuple[Tensor, ...], cutoff: float):
    sizes = batch[0].numel(), batch[3].numel(), arrays[0].numel(), arrays[3].numel()
    grid = (triton.cdiv(max(sizes[2:]) + 1, _ELEMENTS),)
    with torch.cuda.device_of(batch[0]):
        kernels.copy_padded[grid](*batch, *arrays, *sizes, cutoff, BLOCK=_ELEMENTS)


def spline_conv(x, table, interval, weights, edges: Edges, out):
    _run_spline_conv(x, x, table, interval, weights, weights, edges, out, tangent=False)


def spline_conv_tangent(x, dx, table, interval, weights, dweights, edges: Edges, out):
    _run_spline_conv(x, dx, table, interval, weights, dweights, edges, out, tangent=True)


def edge_gradient(x, y, table, interval, slopes, edges: Edges, out):
    tensors = x, y, table, interval, slopes, edges.source, edges.row_pointers
    _launch(
        kernels.edge_gradient, _SLOPE, (x.size(0),), tensors, out, x.size(1), last=table.size(0) - 4
    )


def spline_conv_grad_weights(x, y, table, interval, edges: Edges, out):
    tensors = x, y, table, interval, edges.source, edges.row_pointers
    _launch(
        kernels.spline_conv_grad_weights,
        _DOT,
        (x.size(0),),
        tensors,
        out,
        x.size(1),
        last=table.size(0) - 4,
    )


def sort_by_interval(interval, num_knots: int) -> tuple[Tensor, Tensor, Tensor]:
    key, order = interval.int().sort(stable=True)
    numbers = torch.arange(max(num_knots - 2, 1), dtype=key.dtype, device=key.device)
    return key, order, torch.searchsorted(key, numbers)


def spline_conv_grad_table(x, y, sorted_edges, weights, edges: Edges, out):
    _run_grad_table(x, y, x, y, sorted_edges, weights, weights, edges, out, tangent=False)


def spline_conv_grad_table_tangent(
    x, y, dx, dy, sorted_edges, weights, dweights, edges: Edges, out
):
    _run_grad_table(x, y, dx, dy, sorted_edges, weights, dweights, edges, out, tangent=True)


def knot_weights(distance, f, df, grid: Grid, interval, weights, slopes):
    tensors = distance, f, df, interval, weights, slopes
    scalars = distance.numel(), grid.first, grid.count - 4
    _elementwise(kernels.knot_weights, tensors, scalars, SPACING=grid.spacing, CUTOFF=grid.cutoff)


def shifted_softplus(h, value, first, second):
    _elementwise(kernels.shifted_softplus, (h, value, first, second), (h.numel(),))


def spline_coefficients(samples, out):
    _elementwise(kernels.spline_coefficients, (samples, out), (out.numel(), out.size(1)))


def spline_coefficients_transpose(bar, out):
    _elementwise(
        kernels.spline_coefficients_transpose, (bar, out), (out.numel(), bar.numel(), bar.size(1))
    )


def _run_spline_conv(x, dx, table, interval, weights, dweights, edges, out, tangent):
    tensors = x, dx, table, interval, weights, dweights, edges.source, edges.row_pointers
    grid = x.size(0), triton.cdiv(x.size(1), _CONV.channels)
    _launch(
        kernels.spline_conv,
        _CONV,
        grid,
        tensors,
        out,
        x.size(1),
        last=table.size(0) - 4,
        TANGENT=tangent,
    )


def _run_grad_table(x, y, dx, dy, sorted_edges, weights, dweights, edges, out, tangent):
    channels, intervals = x.size(1), max(out.size(0) - 3, 0)
    key, order, first = sorted_edges
    chunk = max(_FEWEST, triton.cdiv(order.numel(), _PROGRAMS))
    chunks, blocks = triton.cdiv(order.numel(), chunk), triton.cdiv(channels, _TABLE.channels)
    # programs and intervals go up together, so that the sum of their numbers is one part's alone
    parts = x.new_empty(chunks + intervals, 4, channels)
    sizes = dict(intervals=intervals, edges=order.numel(), chunk=chunk)
    if chunks:
        tensors = x, y, dx, dy, weights, dweights, edges.source, edges.target, key, order, first
        _launch(
            kernels.spline_conv_grad_table,
            _TABLE,
            (chunks, blocks),
            tensors,
            parts,
            channels,
            **sizes,
            TANGENT=tangent,
        )
    _launch(kernels.merge, _TABLE, (out.size(0), blocks), (parts, first), out, channels, **sizes)


def _launch(
    kernel, tile: _Tile, grid: tuple[int, ...], tensors, out: Tensor, channels: int, **constants
):
    constants |= dict(EDGES=tile.edges, BLOCK=min(triton.next_power_of_2(channels), tile.channels))
    with torch.cuda.device_of(out):
        arguments = *(tensor.contiguous() for tensor in tensors), out, channels
        kernel[grid](*arguments, **constants, num_warps=tile.warps, enable_fp_fusion=True)


def _elementwise(kernel, tensors, scalars: tuple[int, ...], **constants):
    """Run a kernel for as many numbers as the first scalar says."""
    grid = (triton.cdiv(scalars[0], _ELEMENTS),)
    if grid[0]:
        with torch.cuda.device_of(tensors[0]):
            kernel[grid](*tensors, *scalars, **constants, BLOCK=_ELEMENTS, enable_fp_fusion=True)
