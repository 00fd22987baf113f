"""What a model returns of structures on the CPU, forces and ∂E/∂strain, with gradients."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch._utils import _unflatten_dense_tensors

from schnetgeo.engine.first_order import first_order
from schnetgeo.engine.numba import executor
from schnetgeo.engine.numba.activations import FUNCTIONS
from schnetgeo.engine.numba.ahead import compile_ahead
from schnetgeo.engine.numba.backward import Tangents
from schnetgeo.engine.numba.derivatives import Derivatives, add_derivatives, edge_bars
from schnetgeo.engine.numba.instructions import OPERATIONS
from schnetgeo.engine.program import Embedding, Linear, ModelProgram, inputs, without_rule


class Request(NamedTuple):
    """What is asked for beside the results: derivatives of scale · energy."""

    scale: float
    forces: bool
    stress: bool


def refusal(program: ModelProgram, basis: torch.nn.Module) -> str | None:
    """Why compiled code cannot run a program; `None` if it can."""
    if any(parameter.requires_grad for parameter in basis.parameters()):
        return "the basis functions are trained"
    if absent := without_rule(program, (*OPERATIONS, *FUNCTIONS)):
        return f"compiled code has no rule for {absent}"
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
        training: whether gradients for them are expected.

    Attributes:
        max_z: atomic numbers must lie below.
    """

    def __init__(
        self, program: ModelProgram, parameters: tuple[Tensor, ...], training: bool = True
    ):
        compile_ahead(program, parameters[0].detach().numpy().dtype, training)
        self._code = executor.Assembled.of(program, [tuple(p.shape) for p in parameters])
        self._flattened = Flattened()
        embeddings = [o for o in program.atoms.operations if isinstance(o, Embedding)]
        self.max_z = min(len(parameters[o.weight]) for o in embeddings)

    def __call__(
        self, batch: executor.Batch, basis: Float[Tensor, "M+2 K"], request: Request,
        *parameters: Tensor,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        """Energies, forces, ∂E/∂strain, and all results of the atoms.

        The energies Σ w_i y_i (B,) are without the scale, and 0 where the program has none. Forces
        (N, 3) and ∂E/∂strain (B, 3, 3) are (0, …) where they are not asked for. The results are
        (N, components, channels) each.

        Args:
            batch: atoms and edges.
            basis: functions on the knots.
            request: what is asked for.
            *parameters: the tensors that the program reads.
        """
        flat = self._flattened(parameters)
        return _Function.apply(self._code, flat, batch, basis, request, *parameters)


class Flattened:
    """All numbers of some tensors, one tensor after the other."""

    def __init__(self):
        self._addresses: list[int] = []
        self._rows: list[np.ndarray] = []  # views of the tensors, which keep the memory alive

    def __call__(self, tensors: Sequence[Tensor]) -> np.ndarray:
        """A copy of the numbers as they are now.

        By NumPy: the threads of `torch.cat` would still spin when others begin.
        """
        addresses = [tensor.data_ptr() for tensor in tensors]
        if addresses != self._addresses or not all(t.is_contiguous() for t in tensors):
            self._rows = [tensor.detach().numpy().reshape(-1) for tensor in tensors]
            self._addresses = addresses
        return np.concatenate(self._rows)


class _Function(torch.autograd.Function):
    """Bits of gradients depend on the number of threads, but not on the run."""

    @staticmethod
    def forward(ctx, code, flat, batch: executor.Batch, basis, request: Request, *parameters):
        scale, forces, stress = request
        tape, results = executor.forward(code, flat, basis.numpy(), batch, forces or stress)
        derivatives = Derivatives.zeros(batch.blocks, flat.dtype, forces, stress)
        if forces or stress:
            edge_gradients, number = (results.radial, results.angular), len(results.energy)
            add_derivatives(batch, scale, *edge_gradients, derivatives, 0, number)
        arrays = results.energy, *derivatives, *code.split(results.values)
        ctx.tape, ctx.batch, ctx.code, ctx.scale = tape, batch, code, scale
        ctx.parameters = parameters
        ctx.save_for_backward(*parameters)
        ctx.set_materialize_grads(False)
        return tuple(map(torch.from_numpy, arrays))

    @staticmethod
    @first_order
    def backward(ctx, energy_bar: Tensor | None, *bars: Tensor | None):
        _ = ctx.saved_tensors  # an error, if a weight changed since
        code, batch, dtype = ctx.code, ctx.batch, ctx.tape.values.dtype
        number = len(batch.blocks.ptr) - 1
        energy_bar = np.zeros(number, dtype) if energy_bar is None else _array(energy_bar)
        tangents = _tangents(code, batch, ctx.scale, *bars[:2])
        values_bar = _joined(code, len(batch.z), bars[2:], dtype)
        flat = executor.backward(code, ctx.tape, batch, energy_bar, values_bar, tangents)
        parts = _unflatten_dense_tensors(torch.from_numpy(flat), ctx.parameters)
        return *[None] * 5, *parts


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.contiguous().numpy()


def _tangents(
    code: executor.Assembled, batch: executor.Batch, scale: float, force_bar: Tensor | None,
    virial_bar: Tensor | None,
) -> Tangents | None:  # fmt: skip
    """Gradients of a loss for edge gradients, from those for forces and ∂E/∂strain."""
    if force_bar is None and virial_bar is None:
        return None
    count, dtype = len(batch.distance), batch.distance.dtype
    radial, angular = np.empty(count, dtype), np.empty((count * code.is_directed, 3), dtype)
    forces = np.empty((0, 3), dtype) if force_bar is None else _array(force_bar)
    virial = np.empty((0, 3, 3), dtype) if virial_bar is None else _array(virial_bar)
    edge_bars(batch, scale, forces, virial, radial, angular)
    return Tangents(radial, angular)


def _joined(
    code: executor.Assembled, atoms: int, bars: Sequence[Tensor | None], dtype: np.dtype
) -> np.ndarray:
    """Gradients for the results of the atoms, one after the other; none where all are 0."""
    if all(bar is None for bar in bars):
        return np.empty(0, dtype)
    rows = code.atoms.registers[code.atoms.outputs]
    sizes = atoms * rows["components"] * rows["channels"]
    return np.concatenate(
        [
            np.zeros(size, dtype) if bar is None else _array(bar).reshape(-1)
            for bar, size in zip(bars, sizes, strict=True)
        ]
    )
