"""Results of structures and edge gradients on the CPU, with gradients for parameters."""

import importlib.util
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch._utils import _unflatten_dense_tensors

from schnetgeo.engine.edges import KnotWeights
from schnetgeo.engine.first_order import first_order
from schnetgeo.engine.program import Embedding, Linear, ModelProgram, inputs
from schnetgeo.ops import threads


class Atoms(NamedTuple):
    """The atoms of a batch, those of a structure in a row."""

    z: Int[Tensor, "N"]
    ptr: Int[Tensor, "B+1"]  # first atom of each structure
    atom_weights: Float[Tensor, "N"]  # what an atom counts in the result of its structure


def refusal(program: ModelProgram, basis: torch.nn.Module) -> str | None:
    """Why compiled code cannot run a program; `None` if it can."""
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed"
    if any(parameter.requires_grad for parameter in basis.parameters()):
        return "the basis functions are trained"
    for operation in program.filters.operations:
        reads_basis = 0 in inputs(operation)
        if reads_basis and not (isinstance(operation, Linear) and operation.residual != 0):
            return f"a filter takes {type(operation).__name__} of the basis functions"
    if any(register.components > 1 for register in program.filters.registers):
        return "a filter has vectors"
    return None


class NumbaEnergy:
    """A program for the CPU.

    Args:
        program: one without `refusal`.
        parameters: the tensors that it reads.
    """

    def __init__(self, program: ModelProgram, parameters: tuple[Tensor, ...]):
        from schnetgeo.engine.numba import executor  # which needs Numba

        self._executor = executor
        self._code = executor.Assembled.of(program, [tuple(p.shape) for p in parameters])
        embeddings = [o for o in program.atoms.operations if isinstance(o, Embedding)]
        self._max_z = min(len(parameters[o.weight]) for o in embeddings)

    def prepare(self, atoms: Atoms, edges: KnotWeights) -> tuple | None:
        """A batch as arrays; `None` where threads could not share the structures."""
        return self._executor.batch(
            atoms.z.numpy(), atoms.ptr.numpy(), atoms.atom_weights.numpy(),
            edges_as_arrays(edges), self._max_z, threads.num_threads(),
        )  # fmt: skip

    def __call__(
        self, batch: tuple, basis: Float[Tensor, "M+2 K"], gradients: bool,
        *parameters: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """Energies, edge gradients, and all results of the atoms.

        The energies Σ w_i y_i (B,) are 0 where the program has none. Their gradients for lengths
        (E,) and directions (E, 3) of edges are at the first of the two edges of each pair, and 0 at
        the other. The results are (N, components, channels) each.

        Args:
            batch: what `prepare` gave.
            basis: functions on the knots.
            gradients: whether edge gradients are wanted; they are 0 otherwise.
            *parameters: the tensors that the program reads.
        """
        return _Function.apply(self._executor, self._code, batch, basis, gradients, *parameters)


def edges_as_arrays(edges: KnotWeights) -> tuple[np.ndarray, ...]:
    """`EdgeArrays` of a batch."""
    weights = edges.weights.numpy()
    unit = np.empty((0, 3), weights.dtype) if edges.unit is None else edges.unit.numpy()
    csr = edges.edges.source.numpy(), edges.edges.start.numpy(), edges.edges.reverse.numpy()
    return *csr, edges.interval.numpy(), weights, edges.derivatives.numpy(), unit


def flattened(tensors: Sequence[Tensor]) -> np.ndarray:
    """All numbers, one tensor after the other.

    By NumPy: the threads of `torch.cat` would still spin when others begin.
    """
    return np.concatenate([tensor.detach().numpy().reshape(-1) for tensor in tensors])


class _Function(torch.autograd.Function):
    """Bits of gradients depend on the number of threads, but not on the run."""

    @staticmethod
    def forward(ctx, executor, code, batch, basis, gradients: bool, *parameters: Tensor):
        flat = flattened(parameters)
        tape, results = executor.forward(code, flat, basis.numpy(), batch, gradients)
        *others, values = results
        results = tuple(map(torch.from_numpy, (*others, *code.split(values))))
        ctx.tape, ctx.batch, ctx.code, ctx.executor = tape, batch, code, executor
        ctx.gradients, ctx.parameters = gradients, parameters
        ctx.shapes = [tuple(result.shape) for result in results]
        ctx.save_for_backward(*parameters)
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    @first_order
    def backward(ctx, *bars: Tensor | None):
        _ = ctx.saved_tensors  # an error, if a weight changed since
        dtype = ctx.tape.values.dtype
        arrays = [
            np.zeros(shape, dtype) if bar is None else bar.contiguous().numpy()
            for bar, shape in zip(bars, ctx.shapes, strict=True)
        ]
        values = [array.reshape(-1) for array in arrays[3:]]
        read = any(bar is not None for bar in bars[3:])
        values = np.concatenate(values) if read else np.empty(0, dtype)
        bars = ctx.executor.Results(*arrays[:3], values)
        flat = ctx.executor.backward(ctx.code, ctx.tape, ctx.batch, bars, ctx.gradients)
        parts = _unflatten_dense_tensors(torch.from_numpy(flat), ctx.parameters)
        return *[None] * 5, *parts
