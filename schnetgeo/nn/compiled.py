"""A training step of SchNet as two compiled functions, which threads share by blocks of structures.

The derivatives are those of `nn/fused.py`, where they are explained. There each operator runs over
all atoms; here all operators run over one block of structures after the other, so that what they
pass on stays in the cache, threads meet once per pass, and no time goes into dispatch.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from numba import get_num_threads, prange
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from schnetgeo.nn.fused import Plan
from schnetgeo.nn.mlp import ShiftedSoftplus
from schnetgeo.nn.parameters import Sizes, filters_reverse, tabulate
from schnetgeo.nn.tangents import reverse_blocks
from schnetgeo.nn.whole import Graph, Tape, energies, slopes
from schnetgeo.ops import memory
from schnetgeo.ops.jit import match_threads, parallel, serial

_BLOCK = 64  # atoms, so that rows of weights are read for several atoms at once
_SHARE = 1.25  # of the mean share of a thread that one block may have
_READOUTS = (ShiftedSoftplus, nn.SiLU)  # activations


class Blocks(NamedTuple):
    """Structures in a row, cut into blocks, and blocks shared by threads."""

    first: np.ndarray  # (blocks + 1,) atom
    tasks: np.ndarray  # (threads + 1,) block


def prepare(plan: Plan, ptr: Int[Tensor, "B+1"]) -> tuple[Graph, Blocks] | None:
    """Edges and blocks of a batch; `None` where the compiled functions do not serve.

    That is so for other activations than SchNet's, and where threads could not share the
    structures, as for a large crystal.
    """
    activations = {type(a) for a in (plan.activation, *plan.filter_activations)}
    if activations != {ShiftedSoftplus} or type(plan.readout_activation) not in _READOUTS:
        return None
    interval, weights, edges = plan.filters.arrays
    slopes = plan.filters.slope_arrays[1] if plan.with_slope else weights
    placed = interval, weights, slopes, plan.seed.numpy()
    graph = Graph(edges.source, edges.start, edges.reverse, *placed)
    match_threads()
    if not _one_by_one(ptr.numpy(), edges.source, edges.start, edges.reverse):
        return None
    blocks = Blocks(*_blocks(ptr.numpy(), edges.start, get_num_threads()))
    return (graph, blocks) if blocks.first[0] == 0 else None


class CompiledEnergyAndSlope(torch.autograd.Function):
    """As `fused.EnergyAndSlope`, for what `prepare` takes.

    The slope of a pair is the first of its two edges', and the other's is 0: their sum is the same.
    Bits of gradients depend on the number of threads, but not on the run.
    """

    @staticmethod
    def forward(ctx, plan: Plan, graph: Graph, cut: Blocks, x: Tensor, *parameters: Tensor | None):
        layers, channels = (len(parameters) - 4) // 10, x.size(1)
        sizes = Sizes(layers, channels, plan.filters.basis.size(1), parameters[-4].size(0))
        none = x.new_zeros(channels)  # for a bias that is not there
        flat = torch.cat([none if p is None else p.detach().reshape(-1) for p in parameters])
        flat = flat.numpy()
        basis, activated = plan.filters.basis.numpy(), len(plan.filter_activations) > 1
        silu = type(plan.readout_activation) is nn.SiLU
        weights, filters = sizes.weights(basis), sizes.filters(basis, activated)
        shape = layers, x.size(0), channels, sizes.hidden
        tape = Tape.empty(shape, len(graph.source), flat.dtype, plan.with_slope)
        tape.x[0] = x.detach().numpy()
        tabulate(flat, sizes, weights, filters, basis, activated)
        _forward(weights, graph, tape, cut, silu, plan.with_slope)
        ctx.kept = sizes, basis, weights, filters, graph, tape, cut
        ctx.flags = activated, plan.with_slope
        ctx.shapes = [None if p is None else p.shape for p in parameters]
        return torch.from_numpy(tape.y), torch.from_numpy(tape.slope)

    @staticmethod
    @once_differentiable
    def backward(ctx, y_bar: Tensor, v: Tensor):
        sizes, basis, weights, filters, graph, tape, cut = ctx.kept
        activated, with_slope = ctx.flags
        threads = len(cut.tasks) - 1
        gradient = memory.empty((threads, sizes.total), tape.y.dtype)
        tables = memory.empty((threads, *weights.tables.shape), tape.y.dtype)
        x_bar = memory.empty(tape.x.shape[1:], tape.y.dtype)
        bars = y_bar.contiguous().numpy(), v.contiguous().numpy()
        _backward(sizes, weights, graph, tape, cut, bars, gradient, tables, x_bar, with_slope)
        filters_reverse(sizes, filters, basis, tables, gradient, activated)
        parts = torch.from_numpy(gradient[0]).split([_size(s, sizes) for s in ctx.shapes])
        own = [None if s is None else p.view(s) for p, s in zip(parts, ctx.shapes, strict=True)]
        return None, None, None, torch.from_numpy(x_bar), *own


def _size(shape: torch.Size | None, sizes: Sizes) -> int:
    return sizes.channels if shape is None else shape.numel()


@serial
def _one_by_one(ptr, source, start, reverse):
    """Whether structures follow each other, and edges stay in them and are two for each pair."""
    if ptr.shape[0] < 2 or ptr[0] != 0 or ptr[-1] != start.shape[0] - 1:
        return False
    for b in range(ptr.shape[0] - 1):
        if ptr[b + 1] < ptr[b]:
            return False
        for e in range(start[ptr[b]], start[ptr[b + 1]]):
            back = reverse[e]
            if not ptr[b] <= source[e] < ptr[b + 1] or back == e or reverse[back] != e:
                return False
    return True


@serial
def _blocks(ptr, start, threads):
    """First atoms of the blocks and first blocks of the threads; −1 first where there are none."""
    structures = ptr.shape[0] - 1
    first, number = np.empty(structures + 1, np.int64), 0
    work = np.empty(structures + 1, np.int64)  # done before each block
    first[0], work[0] = 0, 0
    size = max(16, min(_BLOCK, ptr[structures] // (4 * threads)))
    largest = 0
    for b in range(structures):
        if ptr[b + 1] - first[number] >= size or b == structures - 1:
            number += 1
            first[number] = ptr[b + 1]
            work[number] = 8 * ptr[b + 1] + start[ptr[b + 1]]
            largest = max(largest, work[number] - work[number - 1])
    if largest > _SHARE * work[number] / threads + 16 * _BLOCK:
        first[0] = -1
    threads = max(1, min(threads, number))
    tasks, block = np.zeros(threads + 1, np.int64), 0
    for task in range(threads):
        while block < number and work[block + 1] * threads <= work[number] * (task + 1):
            block += 1
        tasks[task + 1] = block
    tasks[threads] = number
    return first[: number + 1], tasks


@parallel
def _forward(weights, graph, tape, cut, silu, with_slope):
    for task in prange(cut.tasks.shape[0] - 1):
        for block in range(cut.tasks[task], cut.tasks[task + 1]):
            atoms = cut.first[block], cut.first[block + 1]
            energies(weights, graph, tape, atoms, silu)
            if with_slope:
                slopes(weights, graph, tape, atoms)


@parallel
def _backward(sizes, weights, graph, tape, cut, bars, gradient, tables, x_bar, with_slope):
    for task in prange(cut.tasks.shape[0] - 1):
        gradient[task] = 0
        tables[task] = 0
        first = cut.first[cut.tasks[task] : cut.tasks[task + 1] + 1]
        into = gradient[task], tables[task], x_bar
        reverse_blocks(sizes, weights, graph, tape, first, bars, into, with_slope)
