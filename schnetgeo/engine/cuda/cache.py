"""The CUDA graphs of a program: the launch of kernels is what small batches wait for."""

import threading
import warnings
from collections import Counter, OrderedDict

import torch
from torch import Tensor, nn

from schnetgeo import ops
from schnetgeo.engine.cuda.graph import CudaGraph, GraphProgram
from schnetgeo.engine.cuda.static_inputs import StaticInputs, padded_size
from schnetgeo.engine.knots import Knots
from schnetgeo.engine.program import Embedding
from schnetgeo.engine.torch.executor import TorchExecutor
from schnetgeo.nn.cutoff import CosineCutoff, PolynomialCutoff, StepCutoff

_CAPTURE_AFTER = 3  # batches of a size
_CAPTURE_AFTER_WHEN_FULL = 100
_MAX_GRAPHS = 8
_MAX_MEMORY_FRACTION = 1 / 50  # of the GPU's, for one graph
_ARRAYS_PER_REGISTER = 6  # value, tangent, their adjoints, derivatives of activations
_NUMBERS_PER_EDGE = 64  # lengths, weights and their order
_WITHOUT_WAITING = {CosineCutoff, PolynomialCutoff, StepCutoff}  # other functions might wait


class CudaGraphCache:
    """Cache of the CUDA graphs of one program, keyed by padded batch size.

    Args:
        executor: of the program.
        knots: of its filters.
        cutoff_fn: the cutoff function.
    """

    def __init__(self, executor: TorchExecutor, knots: Knots, cutoff_fn: nn.Module):
        self._executor, self._knots, self._cutoff_fn = executor, knots, cutoff_fn
        self._seen: Counter = Counter()
        self._graphs: OrderedDict[tuple, CudaGraph] = OrderedDict()
        self._lock = threading.Lock()
        self._failed = False  # one graph gave wrong results, so that none is trusted
        operations = executor.program.atoms.operations
        self._embeddings = [o.weight for o in operations if isinstance(o, Embedding)]

    def __len__(self) -> int:
        """Number of graphs."""
        return len(self._graphs)

    def get(
        self, inputs: StaticInputs, parameters: tuple[Tensor, ...], gradients: bool
    ) -> CudaGraph | None:
        """The graph for a batch; `None` where there is none yet, or it would not serve.

        Args:
            inputs: the batch.
            parameters: the tensors that the program reads.
            gradients: whether edge gradients are wanted.
        """
        if self._failed or not self._can_capture(inputs, parameters):
            return None
        sizes = padded_size(len(inputs.z) + 1), padded_size(len(inputs.distance))
        basis = self._knots.samples(self._knots.range(inputs.distance[:0]), inputs.distance)
        program = GraphProgram(self._executor, self._knots, self._cutoff_fn, basis, gradients)
        key = *sizes, gradients, basis.data_ptr(), *_other_keys(inputs, parameters)
        with self._lock:
            if key not in self._graphs:
                self._seen[key] += 1
                full = len(self._graphs) >= _MAX_GRAPHS
                if self._seen[key] < (_CAPTURE_AFTER_WHEN_FULL if full else _CAPTURE_AFTER):
                    return None
                del self._seen[key]
                graph = self._capture(program, inputs, sizes, parameters)
                if graph is None:
                    return None
                self._graphs[key] = graph
                if len(self._graphs) > _MAX_GRAPHS:
                    self._graphs.popitem(last=False)
            self._graphs.move_to_end(key)
            return self._graphs[key]

    def _capture(
        self, program: GraphProgram, inputs: StaticInputs, sizes: tuple[int, int], parameters: tuple
    ) -> CudaGraph | None:
        trains = torch.is_grad_enabled() and any(p.requires_grad for p in parameters)
        try:
            with torch.cuda.device(inputs.distance.device):
                graph = CudaGraph(program, *sizes, parameters, trains)
                self._failed = not graph.validate(inputs)
        except torch.OutOfMemoryError:
            warnings.warn(f"no memory for a CUDA graph of {sizes[0]} atoms", stacklevel=2)
            return None
        if self._failed:
            warnings.warn("CUDA graphs err on this system; goes on without", stacklevel=2)
            return None
        return graph

    def _can_capture(self, inputs: StaticInputs, parameters: tuple[Tensor, ...]) -> bool:
        if not inputs.distance.is_cuda or type(self._cutoff_fn) not in _WITHOUT_WAITING:
            return False
        if ops.get_backend(inputs.distance).__name__ != "schnetgeo.ops.triton_backend":
            return False
        if torch.cuda.is_current_stream_capturing() or torch.is_anomaly_enabled():
            return False
        if torch.is_autocast_enabled("cuda"):
            return False
        device = torch.cuda.get_device_properties(inputs.distance.device)
        return self._memory(inputs, parameters) <= _MAX_MEMORY_FRACTION * device.total_memory

    def _memory(self, inputs: StaticInputs, parameters: tuple[Tensor, ...]) -> int:
        """Bytes of a graph, about."""
        registers = self._executor.program.atoms.registers
        per_atom = _ARRAYS_PER_REGISTER * sum(r.channels * r.components for r in registers)
        per_atom += sum(len(parameters[weight]) for weight in self._embeddings)
        numbers = per_atom * len(inputs.z) + _NUMBERS_PER_EDGE * len(inputs.distance)
        return numbers * inputs.distance.element_size()


def _other_keys(inputs: StaticInputs, parameters: tuple[Tensor, ...]) -> tuple:
    """All that a graph depends on besides sizes and program."""
    return (
        inputs.distance.dtype,
        torch.backends.cuda.matmul.fp32_precision,
        torch.is_grad_enabled(),
        torch.cuda.current_stream(inputs.distance.device).cuda_stream,
        *((p.data_ptr(), p.requires_grad) for p in parameters),
    )
