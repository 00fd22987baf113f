"""The fused SchNet as CUDA graphs: the launch of kernels is what small batches wait for.

A graph computes on arrays that stay where they are. They are a little larger than the batch, so
that one graph serves many: an atom too many has no share in the energy and no neighbors, an edge
too many leads from the last such atom to itself. All their adjoints are 0, so they change nothing.
"""

import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from torch.autograd.function import once_differentiable

from schnetgeo.nn.fused import Atoms, Plan, back, forth
from schnetgeo.nn.mlp import ShiftedSoftplus
from schnetgeo.nn.radial import CosineEnvelope, NoEnvelope
from schnetgeo.ops.edges import Edges

_OFTEN = 3  # batches of a size before it gets a graph,
_MORE = 100  # and before it gets that of another size
_KEPT = 8  # graphs of a model
_SHARE = 1 / 50  # of the GPU's memory, at most, for a graph
_ARRAYS = 20  # (N, F) that a layer keeps for the way back
_ACTIVATIONS = {ShiftedSoftplus, nn.SiLU}  # that wait for nothing
_ENVELOPES = {CosineEnvelope, NoEnvelope}

Batch = tuple[Tensor, ...]  # z, seed, first edge of each atom, distance, source, target


class Graphs:
    """Those of one model, for the sizes of batches that came often. A copy begins without any."""

    def __init__(self):
        self._seen: Counter = Counter()
        self._kept: OrderedDict[tuple, Captured] = OrderedDict()

    def __reduce__(self):
        return Graphs, ()

    def find(
        self, plan: Plan, atoms: Atoms, embedding: Tensor, parameters: tuple[Tensor | None, ...]
    ) -> "Captured | None":
        """The graph for a batch; `None` where there is none yet, or it would not serve."""
        if not _can_be_captured(plan, embedding):
            return None
        sizes = capacity(atoms.z.numel() + 1), capacity(plan.filters.distance.numel())
        key = *sizes, *_kind(plan, embedding, parameters)
        if key not in self._kept:
            self._seen[key] += 1
            if self._seen[key] < (_OFTEN if len(self._kept) < _KEPT else _MORE):
                return None
            if len(self._kept) == _KEPT:
                self._kept.popitem(last=False)
            del self._seen[key]
            self._kept[key] = _made(plan, *sizes, embedding, parameters)
        self._kept.move_to_end(key)
        return self._kept[key]


def _made(plan: Plan, atoms: int, edges: int, embedding: Tensor, parameters) -> "Captured | None":
    try:
        with torch.cuda.device(embedding.device):
            return Captured(plan, atoms, edges, embedding, parameters, torch.is_grad_enabled())
    except RuntimeError as error:  # memory that is short, or a driver that cannot
        warnings.warn(f"goes on without a CUDA graph for such batches: {error}", stacklevel=2)
        return None


def _kind(plan: Plan, embedding: Tensor, parameters: tuple[Tensor | None, ...]) -> tuple:
    """All that a graph depends on besides its sizes."""
    activations = plan.activation, plan.readout_activation, *plan.filter_activations
    return (
        embedding.dtype,
        torch.is_grad_enabled(),
        plan.with_slope,
        torch.cuda.current_stream(embedding.device).cuda_stream,
        id(plan.filters.knots),
        id(plan.filters.envelope),
        plan.filters.numbers,
        *map(type, activations),
        *(p if p is None else p.data_ptr() for p in (embedding, *parameters)),
    )


def capacity(count: int) -> int:
    """So many or a little more, an eighth at most from 512 on."""
    step = max(64, 2 ** (count.bit_length() - 4))
    return -(-max(count, 1) // step) * step


def _can_be_captured(plan: Plan, embedding: Tensor) -> bool:
    if not embedding.is_cuda or plan.filters.kernels.__name__ != "schnetgeo.ops.cuda":
        return False
    if plan.tables is not None or torch.cuda.is_current_stream_capturing():
        return False
    atoms, channels = plan.seed.numel(), embedding.size(1)
    layer = _ARRAYS * atoms * channels * embedding.element_size()
    memory = torch.cuda.get_device_properties(embedding.device).total_memory
    kinds = {type(a) for a in (plan.activation, plan.readout_activation, *plan.filter_activations)}
    return (
        plan.layers * layer <= _SHARE * memory
        and kinds <= _ACTIVATIONS
        and type(plan.filters.envelope) in _ENVELOPES
    )


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
        self._made_for, self._parameters = plan, (embedding, *parameters)
        self._kernels, self._runs = plan.filters.kernels, 0
        whole = dict(dtype=torch.long, device=embedding.device)
        self._z, self._start = torch.zeros(atoms, **whole), torch.zeros(atoms + 1, **whole)
        self._source, self._target = torch.zeros(2, edges, **whole)
        self._seed, self._y_bar = embedding.new_zeros(2, atoms)
        self._distance, self._v = embedding.new_zeros(2, edges)
        self._arrays = (
            *(self._z, self._seed, self._start),
            *(self._distance, self._source, self._target),
        )
        self._given = [p for p in self._parameters if p is not None]
        with torch.no_grad():
            self._capture(differentiable)

    def __call__(self, z: Tensor, plan: Plan, *parameters: Tensor | None) -> tuple[Tensor, Tensor]:
        """What `fused.EnergyAndSlope` gives."""
        edges = plan.filters.edges
        distance = plan.filters.distance.contiguous()
        batch = z, plan.seed, edges.start, distance, edges.source, edges.target
        return _Replay.apply(self, batch, *parameters)

    def forth(self, batch: Batch) -> tuple[Tensor, Tensor, int]:
        """Energies, slopes, and the number of this run."""
        self._runs += 1
        self._kernels.stage(batch, self._arrays, self._made_for.filters.knots.cutoff)
        self._forward.replay()
        atoms, edges = batch[0].numel(), batch[3].numel()
        return self._y[:atoms].clone(), self._slope[:edges].clone(), self._runs

    def back(self, batch: Batch, run: int, y_bar: Tensor, v: Tensor) -> list[Tensor | None]:
        """Gradients for embedding and parameters after a run."""
        if run != self._runs:  # the arrays are those of another batch by now
            self.forth(batch)
        self._y_bar.zero_()[: y_bar.numel()].copy_(y_bar)
        self._v.zero_()[: v.numel()].copy_(v)
        self._backward.replay()
        found = iter(_unflatten_dense_tensors(self._gradients.clone(), self._given))
        return [None if p is None else next(found) for p in self._parameters]

    def _capture(self, differentiable: bool) -> None:
        self._forth()
        if differentiable:
            self._back()
        self._kept = None  # all is compiled by now
        self._forward, (self._y, self._slope) = captured(self._forth)
        if differentiable:
            self._backward, self._gradients = captured(self._back, self._forward)

    def _forth(self) -> tuple[Tensor, Tensor]:
        edges = Edges(self._source, self._target, self._start, self._source)  # reverse: not read
        filters = self._made_for.filters.elsewhere(self._distance, edges)
        plan = self._made_for._replace(filters=filters, seed=self._seed)
        embedding, *parameters = self._parameters
        tape, y, slope = forth(plan, F.embedding(self._z, embedding), parameters)
        self._kept = plan, tape
        return y, slope

    def _back(self) -> Tensor:
        embedding, *parameters = self._parameters
        x_bar, *gradients = back(*self._kept, parameters, self._y_bar, self._v)
        is_of = x_bar.new_zeros(self._z.numel(), embedding.size(0))
        is_of.scatter_(1, self._z.unsqueeze(1), 1)  # a product adds in the same order every time
        gradients = is_of.t() @ x_bar, *gradients
        return _flatten_dense_tensors([g for g in gradients if g is not None])


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx, captured: Captured, batch: Batch, *parameters: Tensor | None):
        y, slope, run = captured.forth(batch)
        ctx.made = captured, batch, run
        ctx.save_for_backward(*parameters)
        return y, slope

    @staticmethod
    @once_differentiable
    def backward(ctx, y_bar: Tensor, v: Tensor):
        _ = ctx.saved_tensors  # an error, if a weight changed since
        captured, batch, run = ctx.made
        return None, None, *captured.back(batch, run, y_bar, v)


def captured(run: Callable, before: "torch.cuda.CUDAGraph | None" = None) -> tuple:
    """A graph that repeats what a function does on the GPU, and what the function returned.

    Args:
        run: the function.
        before: a graph whose results the function takes.
    """
    graph, pool = torch.cuda.CUDAGraph(), before and before.pool()
    with torch.cuda.graph(graph, pool, torch.cuda.Stream(), capture_error_mode="thread_local"):
        result = run()
    return graph, result
