"""One program on a GPU as CUDA graphs, which repeat all of its kernels by one launch."""

import threading
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from schnetgeo.engine.cuda.static_inputs import StaticInputs
from schnetgeo.engine.edges import knot_weights
from schnetgeo.engine.first_order import first_order
from schnetgeo.engine.knots import Knots
from schnetgeo.engine.torch.executor import Result, TorchExecutor


class GraphProgram:
    """A program from the lengths of edges on, as a graph repeats it.

    Args:
        executor: of the program.
        knots: of its filters.
        cutoff_fn: the cutoff function.
        basis: functions on all knots.
        gradients: whether edge gradients are wanted.
    """

    def __init__(
        self,
        executor: TorchExecutor,
        knots: Knots,
        cutoff_fn: nn.Module,
        basis: Float[Tensor, "M+2 K"],
        gradients: bool,
    ):
        self.executor, self.knots, self.cutoff_fn = executor, knots, cutoff_fn
        self.basis, self.gradients = basis, gradients

    @property
    def value_shapes(self) -> list[tuple[int, int]]:
        """Components and channels of the atomic values."""
        atoms = self.executor.program.atoms
        registers = (atoms.registers[output] for output in atoms.outputs)
        return [(register.components, register.channels) for register in registers]

    def forward(self, inputs: StaticInputs, parameters: tuple[Tensor, ...]) -> Result:
        """Edge gradients and atomic values, by kernels one by one."""
        edges = knot_weights(
            self.knots, self.cutoff_fn, inputs.distance, inputs.edges, inputs.unit,
            self.knots.range(inputs.distance[:0]),
        )  # fmt: skip
        arguments = edges, self.basis, inputs.z, inputs.atom_weights, self.gradients
        return self.executor.forward(parameters, *arguments)

    def backward(self, result: Result, bars: tuple[Tensor | None, ...]) -> list[Tensor | None]:
        """Gradients for the parameters, from those for edge gradients and atomic values."""
        return self.executor.backward(result.tapes, bars[2:], *bars[:2])[0]


class CudaGraph:
    """Edge gradients, atomic values, and gradients of a loss on both, up to some size.

    Args:
        program: that the graph repeats.
        atoms, edges: for how many there is room; the last atom is always one too many.
        parameters: the tensors that the program reads, where they stay.
        differentiable: whether gradients for them will be asked for.
    """

    def __init__(
        self,
        program: GraphProgram,
        atoms: int,
        edges: int,
        parameters: tuple[Tensor, ...],
        differentiable: bool,
    ):
        self._program, self._parameters = program, parameters
        like, directed = program.basis, program.executor.is_directed
        self._inputs = StaticInputs.zeros(atoms, edges, like, directed)
        shapes = [(edges,) if program.gradients else None]
        shapes += [(edges, 3) if program.gradients and directed else None]
        shapes += [(atoms, *shape) for shape in program.value_shapes]
        self._bars = tuple(None if shape is None else like.new_zeros(shape) for shape in shapes)
        self._differentiable, self._runs, self._lock = differentiable, 0, threading.RLock()
        self._trained: list[bool] = []  # whether a parameter gets a gradient
        with torch.no_grad():
            self._capture()

    def __call__(self, inputs: StaticInputs) -> tuple[Tensor | None, ...]:
        """Gradients for lengths, 0 if they are not wanted, and directions, and atomic values."""
        radial, *rest = _Replay.apply(self, inputs, *self._parameters)
        return torch.zeros_like(inputs.distance) if radial is None else radial, *rest

    @torch.no_grad()
    def validate(self, inputs: StaticInputs) -> bool:
        """Whether a batch comes out as from the kernels one by one, up to rounding."""
        *results, run = self.forward(inputs)
        result = self._program.forward(inputs, self._parameters)
        expected = _results(result)
        pairs = list(zip(results, expected, strict=True))
        if self._differentiable:
            bars = tuple(None if t is None else torch.ones_like(t) for t in expected)
            gradients = self._program.backward(result, bars)
            pairs += zip(self.backward(inputs, run, bars), gradients, strict=True)
        tolerance = torch.finfo(inputs.distance.dtype).eps ** 0.5
        return all(_agree(*pair, tolerance) for pair in pairs if pair[1] is not None)

    def forward(self, inputs: StaticInputs) -> tuple:
        """Edge gradients, atomic values, and the number of this run."""
        atoms, edges = len(inputs.z), len(inputs.distance)
        with self._lock:  # one thread's batch at a time; what follows is in the stream's order
            self._runs += 1
            inputs.copy_to(self._inputs, self._program.knots.cutoff)
            self._forward.replay()
            sizes = edges, edges, *[atoms] * (len(self._results) - 2)
            results = zip(self._results, sizes, strict=True)
            return *(None if t is None else t[:n].clone() for t, n in results), self._runs

    def backward(
        self, inputs: StaticInputs, run: int, bars: tuple[Tensor | None, ...]
    ) -> list[Tensor | None]:
        """Gradients for the parameters after a run."""
        with self._lock:
            if run != self._runs:  # the arrays are those of another batch by now
                self.forward(inputs)
            for static, bar in zip(self._bars, bars, strict=True):
                if static is not None:
                    static.zero_()[: len(bar)].copy_(bar)
            self._backward.replay()
            gradients = self._gradients.clone()
        shapes = [p for p, trained in zip(self._parameters, self._trained, strict=True) if trained]
        parts = iter(_unflatten_dense_tensors(gradients, shapes))
        return [next(parts) if trained else None for trained in self._trained]

    def _capture(self) -> None:
        self._run_forward()
        if self._differentiable:
            self._run_backward()
        self._result = None  # all is compiled by now
        pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()
        self._forward, self._results = capture(self._run_forward, pool, stream)
        if self._differentiable:  # reads the tapes where they lie
            self._backward, self._gradients = capture(self._run_backward, pool, stream)

    def _run_forward(self) -> tuple[Tensor | None, ...]:
        self._result = self._program.forward(self._inputs, self._parameters)
        return _results(self._result)

    def _run_backward(self) -> Tensor:
        gradients = self._program.backward(self._result, self._bars)
        self._trained = [gradient is not None for gradient in gradients]
        return _flatten_dense_tensors([g for g in gradients if g is not None])


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx, graph: CudaGraph, inputs: StaticInputs, *parameters: Tensor):
        *results, run = graph.forward(inputs)
        ctx.graph, ctx.inputs, ctx.run = graph, inputs, run
        ctx.parameters, ctx.present = parameters, [t is not None for t in results]
        ctx.save_for_backward(*parameters)
        return tuple(results)

    @staticmethod
    @first_order
    def backward(ctx, *bars: Tensor):
        _ = ctx.saved_tensors  # an error, if a weight changed since
        bars = tuple(b if there else None for b, there in zip(bars, ctx.present, strict=True))
        return None, None, *ctx.graph.backward(ctx.inputs, ctx.run, bars)


def capture(
    run: Callable[[], object], pool: tuple, stream: "torch.cuda.Stream"
) -> tuple["torch.cuda.CUDAGraph", object]:
    """A graph that repeats what a function does on the GPU, and what the function returned."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
        result = run()
    return graph, result


def _results(result: Result) -> tuple[Tensor | None, ...]:
    return result.radial, result.angular, *result.values


def _agree(result: Tensor, expected: Tensor, tolerance: float) -> bool:
    finite = expected.isfinite()  # what is no number is no measure
    error, size = (torch.where(finite, t, 0).norm() for t in (result - expected, expected))
    return bool(error <= tolerance * size)
