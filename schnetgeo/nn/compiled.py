"""A training step of SchNet as two compiled functions, which threads share by blocks of structures.

The derivatives are those of `nn/fused.py`, where they are explained. There each operator runs over
all atoms; here all operators run over one block of structures after the other, so that what they
pass on stays in the cache, threads meet once per pass, and no time goes into dispatch.
"""

from typing import NamedTuple

import numpy as np
import torch
from numba import get_num_threads, prange
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from schnetgeo.errors import InputError
from schnetgeo.nn.first_order import first_order
from schnetgeo.nn.fused import Atoms, Plan
from schnetgeo.nn.mlp import ShiftedSoftplus
from schnetgeo.nn.parameters import Sizes, embedding_of, filters_reverse, tabulate, weights_of
from schnetgeo.nn.tangents import reverse_blocks, room_size
from schnetgeo.nn.whole import Graph, Tape, energies, slopes
from schnetgeo.ops import memory
from schnetgeo.ops.dense import set_row
from schnetgeo.ops.jit import match_threads, parallel, serial, standalone

_BLOCK = 192  # atoms: for each block, tables and weights come from the outer cache again
_SHARE = 1.25  # of the mean share of the work that one thread may have
_SLACK = 1000  # and what it may have anyway, as much as a few molecules
_READOUTS = (ShiftedSoftplus, nn.SiLU)  # activations


class Structures(NamedTuple):
    """Structures in a row, cut into blocks of atoms, and blocks shared by threads."""

    z: np.ndarray  # (N,)
    ptr: np.ndarray  # (B + 1,) first atom of each structure
    blocks: np.ndarray  # (blocks + 1,) first structure of each block
    tasks: np.ndarray  # (threads + 1,) first block of each thread
    longest: int  # atoms of a block


def prepare(plan: Plan, atoms: Atoms, elements: int) -> tuple[Graph, Structures] | None:
    """Edges and blocks of a batch; `None` where the compiled functions do not serve.

    That is so for other activations than SchNet's, and where threads could not share the
    structures, as for a large crystal.
    """
    activations = {type(a) for a in (plan.activation, *plan.filter_activations)}
    if activations != {ShiftedSoftplus} or type(plan.readout_activation) not in _READOUTS:
        return None
    if atoms.ptr is None and atoms.number != 1:
        return None
    z = atoms.z.numpy()
    ptr = np.array([0, len(z)]) if atoms.ptr is None else atoms.ptr.numpy()
    interval, weights, edges = plan.filters.arrays
    slopes = plan.filters.slope_arrays[1] if plan.with_slope else weights
    placed = interval, weights, slopes, plan.seed.numpy()
    graph = Graph(edges.source, edges.start, edges.reverse, *placed)
    match_threads()
    if not _one_by_one(z, ptr, edges.source, edges.start, edges.reverse, elements):
        return None
    cut = Structures(z, ptr, *_blocks(ptr, edges.start, get_num_threads()))
    return (graph, cut) if cut.blocks[0] == 0 else None


class CompiledEnergyAndSlope(torch.autograd.Function):
    """As `fused.energy_and_slope`, for what `prepare` takes.

    The slope of a pair is the first of its two edges', and the other's is 0: their sum is the same.
    Bits of gradients depend on the number of threads, but not on the run.
    """

    @staticmethod
    def forward(ctx, plan: Plan, graph: Graph, cut: Structures, *parameters: Tensor | None):
        embedding, readout = parameters[0], parameters[-4]
        basis, layers = plan.filters.basis.numpy(), (len(parameters) - 5) // 10
        shape = embedding.size(1), basis.shape[1], readout.size(0), len(embedding), len(basis)
        sizes, kind = Sizes(layers, *shape), basis.dtype
        none = embedding.new_zeros(embedding.size(1))  # for a bias that is not there
        given = [none if p is None else p for p in parameters]
        flat = _flatten_dense_tensors(given).numpy()
        if len(flat) != sizes.parameters:
            raise InputError(
                f"the model has {len(flat)} parameters, but with its sizes, {sizes}, it would have "
                f"{sizes.parameters}; give its layers back the shapes they were built with"
            )
        activated = len(plan.filter_activations) > 1
        silu = type(plan.readout_activation) is nn.SiLU
        room = memory.empty((sizes.weights,), kind)
        filter_room = memory.empty((sizes.filters(activated),), kind)
        tape = Tape.empty(sizes, len(cut.z), len(graph.source), kind, plan.with_slope)
        energy = np.empty(len(cut.ptr) - 1, kind)
        tabulate(flat, sizes, basis, activated, room, filter_room)
        _forward(flat, sizes, room, graph, cut, tape, energy, silu, plan.with_slope)
        ctx.kept = sizes, basis, room, filter_room, graph, cut, tape
        ctx.flags, ctx.given = (activated, plan.with_slope), given
        ctx.parameters = parameters
        ctx.absent = [p is None for p in parameters]
        return torch.from_numpy(energy), torch.from_numpy(tape.slope)

    @staticmethod
    @first_order
    def backward(ctx, energy_bar: Tensor, v: Tensor):
        sizes, basis, room, filter_room, graph, cut, tape = ctx.kept
        activated, with_slope = ctx.flags
        threads, kind = len(cut.tasks) - 1, basis.dtype
        gradient = memory.rows(threads, sizes.parameters, kind)
        tables = memory.empty((threads, sizes.layers, sizes.samples - 2, sizes.channels), kind)
        space = memory.rows(threads, room_size(sizes, cut.longest, with_slope), kind)
        bars = energy_bar.contiguous().numpy(), v.contiguous().numpy()
        _backward(sizes, room, graph, cut, tape, bars, space, gradient, tables, with_slope)
        filters_reverse(sizes, filter_room, basis, tables, gradient, activated)
        parts = _unflatten_dense_tensors(
            torch.from_numpy(gradient[0, : sizes.parameters]), ctx.given
        )
        own = [None if none else p for p, none in zip(parts, ctx.absent, strict=True)]
        return None, None, None, *own


@serial
def _one_by_one(z, ptr, source, start, reverse, elements):
    """Whether structures follow each other, edges stay in them and are two for each pair.

    And whether all atoms are of elements that there are.
    """
    if ptr.shape[0] < 2 or ptr[0] != 0 or ptr[-1] != z.shape[0]:
        return False
    for i in range(z.shape[0]):
        if not 0 <= z[i] < elements:
            return False
    for b in range(ptr.shape[0] - 1):  # all of them first: the way to the last may lead outside
        if ptr[b + 1] < ptr[b]:
            return False
    for b in range(ptr.shape[0] - 1):
        for e in range(start[ptr[b]], start[ptr[b + 1]]):
            back = reverse[e]
            if not ptr[b] <= source[e] < ptr[b + 1] or back == e or reverse[back] != e:
                return False
    return True


@serial
def _blocks(ptr, start, threads):
    """`Structures.blocks`, −1 first where threads cannot share, `tasks` and `longest`."""
    structures = ptr.shape[0] - 1
    blocks, tasks = np.zeros(structures + threads + 1, np.int64), np.zeros(threads + 1, np.int64)
    total, number, b = _work(ptr, start, structures), 0, 0
    for task in range(threads):
        first, goal = b, total * (task + 1) / threads
        while b < structures and _work(ptr, start, b) + _work(ptr, start, b + 1) <= 2 * goal:
            b += 1  # as long as the middle of a structure lies before the goal
        if _work(ptr, start, b) - _work(ptr, start, first) > _SHARE * total / threads + _SLACK:
            blocks[0] = -1
        atoms = ptr[b] - ptr[first]
        size = atoms / max(1, np.ceil(atoms / _BLOCK))
        for s in range(first, b):
            if s + 1 == b or ptr[s + 1] - ptr[blocks[number]] >= size:
                number += 1
                blocks[number] = s + 1
        tasks[task + 1] = number
    longest = 0
    for block in range(number):
        longest = max(longest, ptr[blocks[block + 1]] - ptr[blocks[block]])
    return blocks[: number + 1], tasks, longest


@serial
def _work(ptr, start, structures):
    """Measure of the work for so many structures."""
    return 8 * ptr[structures] + start[ptr[structures]]


@parallel
def _forward(flat, sizes, room, graph, cut, tape, energy, silu, with_slope):
    for task in prange(cut.tasks.shape[0] - 1):
        for block in range(cut.tasks[task], cut.tasks[task + 1]):
            structures = cut.blocks[block], cut.blocks[block + 1]
            _forward_block(
                flat, sizes, room, graph, cut, tape, energy, structures, silu, with_slope
            )


@standalone
def _forward_block(flat, sizes, room, graph, cut, tape, energy, structures, silu, with_slope):
    embedding, weights = embedding_of(flat, sizes), weights_of(room, sizes)
    first, last = structures
    atoms = cut.ptr[first], cut.ptr[last]
    for i in range(atoms[0], atoms[1]):
        set_row(embedding[cut.z[i]], tape.x[0, i])
    energies(weights, graph, tape, atoms, silu)
    for b in range(first, last):
        energy[b] = 0
        for i in range(cut.ptr[b], cut.ptr[b + 1]):
            energy[b] += graph.share[i] * tape.y[i]
    if with_slope:
        slopes(weights, graph, tape, atoms)


@parallel
def _backward(sizes, room, graph, cut, tape, bars, space, gradient, tables, with_slope):
    for task in prange(cut.tasks.shape[0] - 1):
        blocks = cut.blocks[cut.tasks[task] : cut.tasks[task + 1] + 1]
        into = gradient[task], tables[task]
        weights, own = weights_of(room, sizes), space[task]
        reverse_blocks(sizes, weights, graph, tape, cut, blocks, bars, own, into, with_slope)
