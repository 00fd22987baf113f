"""The fused SchNet as CUDA graphs: the launch of kernels is what small batches wait for.

A graph computes on arrays that stay where they are. They are a little larger than the batch, so
that one graph serves many: an atom too many has no share in the energy and no neighbors, an edge
too many leads from the last such atom to itself. All their adjoints are 0, so they change nothing.
"""

import threading
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from schnetgeo.nn.cutoff import CosineCutoff, StepCutoff
from schnetgeo.nn.first_order import first_order
from schnetgeo.nn.fused import LayerWeights, Plan, back, forth
from schnetgeo.nn.mlp import ShiftedSoftplus
from schnetgeo.nn.spline import PlacedFilters
from schnetgeo.ops.edges import Edges

_OFTEN = 3  # batches of a size before it gets a graph,
_MORE = 100  # and before it gets that of another size
_KEPT = 8  # graphs of a model
_SHARE = 1 / 50  # of the GPU's memory, at most, for a graph
_ARRAYS = 20  # (N, F) that a layer keeps for the way back
_PER_EDGE = 120  # bytes: places, weights and their order
_ACTIVATIONS = {ShiftedSoftplus, nn.SiLU}  # that wait for nothing
_CUTOFF_FUNCTIONS = {CosineCutoff, StepCutoff}


class Batch(NamedTuple):
    """What differs from batch to batch, or the longer arrays of a graph."""

    z: Int[Tensor, "N"]
    seed: Float[Tensor, "N"]
    start: Int[Tensor, "N+1"]  # first edge of each atom
    distance: Float[Tensor, "E"]
    source: Int[Tensor, "E"]
    target: Int[Tensor, "E"]

    @classmethod
    def of(cls, z: Int[Tensor, "N"], plan: Plan) -> "Batch":
        filters, edges = plan.filters, plan.filters.edges
        arrays = z, plan.seed, edges.start, filters.distance, edges.source, edges.target
        return cls(*(array.contiguous() for array in arrays))

    @classmethod
    def zeros(cls, atoms: int, edges: int, like: Tensor) -> "Batch":
        whole, real = partial(like.new_zeros, dtype=torch.long), like.new_zeros
        ends = whole(edges), whole(edges)
        return cls(whole(atoms), real(atoms), whole(atoms + 1), real(edges), *ends)


class Graphs:
    """Those of one model, for the sizes of batches that came often. A copy begins without any."""

    def __init__(self):
        self._seen: Counter = Counter()
        self._kept: OrderedDict[tuple, Captured] = OrderedDict()
        self._lock = threading.Lock()
        self._wrong = False  # one of them was, so that none is trusted

    def __reduce__(self):
        return Graphs, ()

    def find(
        self,
        plan: Plan,
        z: Int[Tensor, "N"],
        embedding: Float[Tensor, "Z F"],
        parameters: tuple[Tensor | None, ...],
    ) -> "Captured | None":
        """The graph for a batch; `None` where there is none yet, or it would not serve."""
        if self._wrong or not _can_be_captured(plan, embedding, parameters):
            return None
        sizes = capacity(plan.seed.numel() + 1), capacity(plan.filters.distance.numel())
        key = *sizes, *_kind(plan, embedding, parameters)
        with self._lock:
            if key not in self._kept:
                self._seen[key] += 1
                if self._seen[key] < (_OFTEN if len(self._kept) < _KEPT else _MORE):
                    return None
                del self._seen[key]
                made = self._made(plan, z, sizes, embedding, parameters)
                if made is None:
                    return None
                self._kept[key] = made
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]

    def _made(self, plan: Plan, z: Tensor, sizes: tuple, embedding: Tensor, parameters: tuple):
        try:
            with torch.cuda.device(embedding.device):
                graph = Captured(plan, *sizes, embedding, parameters, torch.is_grad_enabled())
                self._wrong = not graph.agrees(z, plan)
        except torch.OutOfMemoryError:
            warnings.warn(f"no memory for a CUDA graph of {sizes[0]} atoms", stacklevel=2)
            return None
        if self._wrong:
            warnings.warn("CUDA graphs err on this system; goes on without", stacklevel=2)
            return None
        return graph


def _kind(plan: Plan, embedding: Tensor, parameters: tuple[Tensor | None, ...]) -> tuple:
    """All that a graph depends on besides its sizes."""
    return (
        embedding.dtype,
        torch.backends.cuda.matmul.fp32_precision,
        torch.is_grad_enabled(),
        plan.with_slope,
        torch.cuda.current_stream(embedding.device).cuda_stream,
        id(plan.filters.knots),
        id(plan.filters.cutoff_fn),
        plan.filters.numbers,
        *map(type, plan.activations),
        *(p if p is None else p.data_ptr() for p in (embedding, *parameters)),
    )


def capacity(count: int) -> int:
    """So many or a little more, an eighth at most from 512 on."""
    step = max(64, 2 ** (count.bit_length() - 4))
    return -(-max(count, 1) // step) * step


def _can_be_captured(plan: Plan, embedding: Tensor, parameters: tuple[Tensor | None, ...]) -> bool:
    if not embedding.is_cuda or plan.filters.kernels.__name__ != "schnetgeo.ops.cuda":
        return False
    if plan.tables is not None or torch.cuda.is_current_stream_capturing():
        return False
    if torch.is_anomaly_enabled() or torch.is_autocast_enabled("cuda"):
        return False
    if not {type(a) for a in plan.activations} <= _ACTIVATIONS:
        return False
    if type(plan.filters.cutoff_fn) not in _CUTOFF_FUNCTIONS:
        return False
    layers, (elements, channels) = len(parameters) // len(LayerWeights._fields), embedding.shape
    numbers = plan.seed.numel() * (_ARRAYS * layers * channels + elements)
    memory = numbers * embedding.element_size() + _PER_EDGE * plan.filters.distance.numel()
    return memory <= _SHARE * torch.cuda.get_device_properties(embedding.device).total_memory


class Captured:
    """Atomic energies, slopes, and gradients of a loss on both, for up to so many atoms and edges.

    Args:
        plan: of a batch; of its arrays only the kind matters.
        atoms, edges: for how many there is room; the last atom is always one too many.
        embedding, parameters: as for `fused.energy_and_slope`; their present values count.
        differentiable: whether gradients will be asked for.
    """

    def __init__(
        self,
        plan: Plan,
        atoms: int,
        edges: int,
        embedding: Tensor,
        parameters: tuple[Tensor | None, ...],
        differentiable: bool,
    ):
        self._arrays = Batch.zeros(atoms, edges, embedding)
        self._y_bar, self._v = embedding.new_zeros(atoms), embedding.new_zeros(edges)
        self._parameters = embedding, *parameters
        self._given = [p for p in self._parameters if p is not None]
        self._plan = plan._replace(filters=self._placed(plan), seed=self._arrays.seed, graphs=None)
        self._runs, self._lock, self._differentiable = 0, threading.RLock(), differentiable
        with torch.no_grad():
            self._record()

    def __call__(self, z: Tensor, plan: Plan, *parameters: Tensor | None) -> tuple[Tensor, Tensor]:
        """What `fused.EnergyAndSlope` gives."""
        return _Replay.apply(self, Batch.of(z, plan), *parameters)

    @torch.no_grad()
    def agrees(self, z: Tensor, plan: Plan) -> bool:
        """Whether a batch comes out as from the operators one by one, up to rounding."""
        batch, (embedding, *parameters) = Batch.of(z, plan), self._parameters
        *found, run = self.forth(batch)
        tape, *expected = forth(plan, F.embedding(z, embedding), parameters)
        if self._differentiable:
            bars = [torch.ones_like(t) for t in expected]
            x_bar, *gradients = back(plan, tape, parameters, *bars)
            gradients = torch.zeros_like(embedding).index_add_(0, z, x_bar), *gradients
            found.append(_flat(self.back(batch, run, *bars)))
            expected.append(_flat(gradients))
        tolerance = torch.finfo(embedding.dtype).eps ** 0.5
        for got, want in zip(found, expected, strict=True):
            there = want.isfinite()  # what is no number is no measure
            error, size = (torch.where(there, t, 0).norm() for t in (got - want, want))
            if not error <= tolerance * size:
                return False
        return True

    def forth(self, batch: Batch) -> tuple[Tensor, Tensor, int]:
        """Energies, slopes, and the number of this run."""
        atoms, edges = batch.z.numel(), batch.distance.numel()
        with self._lock:  # one thread's batch at a time; what follows is in the stream's order
            self._runs += 1
            filters = self._plan.filters
            filters.kernels.stage(batch, self._arrays, filters.knots.cutoff)
            self._forward.replay()
            return self._y[:atoms].clone(), self._slope[:edges].clone(), self._runs

    def back(self, batch: Batch, run: int, y_bar: Tensor, v: Tensor) -> list[Tensor | None]:
        """Gradients for embedding and parameters after a run."""
        with self._lock:
            if run != self._runs:  # the arrays are those of another batch by now
                self.forth(batch)
            self._y_bar.zero_()[: y_bar.numel()].copy_(y_bar)
            self._v.zero_()[: v.numel()].copy_(v)
            self._backward.replay()
            gradients = self._gradients.clone()
        found = iter(_unflatten_dense_tensors(gradients, self._given))
        return [None if p is None else next(found) for p in self._parameters]

    def _placed(self, plan: Plan) -> PlacedFilters:
        _, _, start, distance, source, target = self._arrays
        edges = Edges(source, target, start, reverse=source)  # which nobody reads
        return plan.filters.elsewhere(distance, edges)

    def _record(self) -> None:
        self._forth()
        if self._differentiable:
            self._back()
        self._tape = None  # all is compiled by now
        pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()
        self._forward, (self._y, self._slope) = recorded(self._forth, pool, stream)
        if self._differentiable:  # reads the tape where it lies
            self._backward, self._gradients = recorded(self._back, pool, stream)

    def _forth(self) -> tuple[Tensor, Tensor]:
        plan = self._plan._replace(filters=self._placed(self._plan))  # nothing placed before
        embedding, *parameters = self._parameters
        tape, y, slope = forth(plan, F.embedding(self._arrays.z, embedding), parameters)
        self._tape = plan, tape
        return y, slope

    def _back(self) -> Tensor:
        embedding, *parameters = self._parameters
        x_bar, *gradients = back(*self._tape, parameters, self._y_bar, self._v)
        z = self._arrays.z.unsqueeze(1)
        is_of = x_bar.new_zeros(z.numel(), embedding.size(0))
        is_of.scatter_(1, z, 1)  # a product adds in the same order every time
        gradients = is_of.t() @ x_bar, *gradients
        return _flat(gradients)


def _flat(gradients: Iterable[Tensor | None]) -> Tensor:
    return _flatten_dense_tensors([g for g in gradients if g is not None])


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx, graph: Captured, batch: Batch, *parameters: Tensor | None):
        y, slope, run = graph.forth(batch)
        ctx.made, ctx.parameters = (graph, batch, run), parameters
        ctx.save_for_backward(*parameters)
        return y, slope

    @staticmethod
    @first_order
    def backward(ctx, y_bar: Tensor, v: Tensor):
        _ = ctx.saved_tensors  # an error, if a weight changed since
        graph, batch, run = ctx.made
        return None, None, *graph.back(batch, run, y_bar, v)


def recorded(run: Callable, pool: tuple, stream: "torch.cuda.Stream") -> tuple:
    """A graph that repeats what a function does on the GPU, and what the function returned."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
        result = run()
    return graph, result
