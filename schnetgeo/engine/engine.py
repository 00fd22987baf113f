"""Which implementation computes a potential, and why."""

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.data.graph import sort_edges
from schnetgeo.engine.cuda.cache import CudaGraphCache
from schnetgeo.engine.cuda.static_inputs import StaticInputs
from schnetgeo.engine.edge_forces import (
    EdgeGradient,
    edge_forces,
    edge_lengths,
    edge_virial,
    unit_vectors,
)
from schnetgeo.engine.edges import csr_edges, knot_weights, vanishes_beyond
from schnetgeo.engine.knots import Knots
from schnetgeo.engine.lowering.lower import Lowered, Refusal, lower
from schnetgeo.engine.lowering.outputs import select
from schnetgeo.engine.lowering.refusal import REMEDY
from schnetgeo.engine.lowering.watch import Watch
from schnetgeo.engine.numba.energy import NumbaEnergy, Request, refusal
from schnetgeo.engine.numba.executor import Batch
from schnetgeo.engine.numba.structures import Measured, measured_structures
from schnetgeo.engine.torch.energy import TorchEnergy
from schnetgeo.engine.torch.executor import refusal as no_rule
from schnetgeo.errors import InputError
from schnetgeo.geometry import batch_index, num_structures
from schnetgeo.nn.model import AtomisticModel
from schnetgeo.nn.readout import AtomicValues, Readout

_PRECISE = (torch.float32, torch.float64)  # half precision would lose several times more


class Evaluation(NamedTuple):
    """What a model returns, and derivatives of its energy; gradients flow to parameters."""

    results: Tensor | tuple[Tensor, ...]  # what the model returns; the first may be the energy
    arrays: Sequence[Float[Tensor, "N C F"]]  # results of its program
    forces: Float[Tensor, "N 3"] | None  # of scale · energy
    virial: Float[Tensor, "B 3 3"] | None  # ∂/∂strain of it


class Reading:
    """A model that was read, and what runs it.

    Args:
        model: with `cutoff`, `basis`, `cutoff_fn` and `readout`.
        lowered: its program.
        spacing: of the knots, Å; `None` follows from the basis.
    """

    def __init__(self, model: nn.Module, lowered: Lowered, spacing: float | None):
        self.program, self.parameters = lowered.program, lowered.parameters
        self._outputs, self._readout, self._energy = lowered.outputs, model.readout, None
        if isinstance(model.readout, Readout) and self.program.energy is not None:
            self._energy = model.readout.linear
        if self._energy is None:
            self.program = self.program._replace(energy=None)
        self.knots = Knots(model.basis, model.cutoff, spacing)
        self.numba_refusal = refusal(self.program, model.basis)
        self._cutoff_fn, self._training = model.cutoff_fn, model.training
        self._numba: NumbaEnergy | None = None
        self._torch = TorchEnergy(self.program)
        self.cuda_graphs = CudaGraphCache(self._torch.executor, self.knots, model.cutoff_fn)

    def evaluate(
        self, data: Data, scale: Float[Tensor, ""], forces: bool, stress: bool
    ) -> Evaluation:
        """What the model returns, forces and ∂/∂strain of scale · energy.

        Compiled code computes it where it can.

        Args:
            data: structures with edges.
            scale: of the energy.
            forces, stress: whether forces and ∂/∂strain are wanted.

        Raises:
            InputError: for a scale on another device than the model.
        """
        device = self.parameters[0].device
        if device != scale.device:
            raise InputError(
                f"the model is on the device {device}, but its potential on {scale.device}; move "
                f"both, by potential.to({str(device)!r})"
            )
        measured = self.measure(data, scale)
        if measured is None:
            return self._by_torch(sort_edges(data), scale, forces, stress)
        edges = knot_weights(self.knots, self._cutoff_fn, torch.from_numpy(measured.distance), None)
        arrays = edges.interval, edges.weights, edges.derivatives
        atom_weights = self._atom_weights(data, scale.dtype).numpy()
        batch = Batch.of(measured, atom_weights, *(array.numpy() for array in arrays))
        basis = self.knots.samples(edges.coefficients, edges.weights)
        request = Request(float(scale), forces, stress)
        energy, force, virial, *arrays = self._numba(batch, basis, request, *self.parameters)
        results, virial = self._results(data, energy, arrays), virial if stress else None
        return Evaluation(results, arrays, force if forces else None, virial)

    def measure(self, data: Data, like: Tensor) -> Measured | None:
        """Structures as compiled code takes them; `None` where it does not serve.

        Args:
            data: with edges.
            like: a tensor of the model's type.
        """
        if self.numba_refusal is not None or like.device.type != "cpu":
            return None
        if self._numba is None:
            self._numba = NumbaEnergy(self.program, self.parameters, self._training)
        return measured_structures(data, self._numba.max_z, like.numpy().dtype)

    @property
    def has_energy(self) -> bool:
        """Whether the first result may be an energy: a sum or mean of atomic values."""
        return self._energy is not None

    def _by_torch(self, data: Data, scale: Tensor, forces: bool, stress: bool) -> Evaluation:
        """The same on any device."""
        vectors, distance = edge_lengths(data, scale.dtype)
        with _without_autocast(scale.device.type):
            unit = unit_vectors(vectors, distance) if self._torch.executor.is_directed else None
            radial, angular, *arrays = self._edge_gradients(data, distance, unit, forces or stress)
            results = self._results(data, None, arrays)
            angular = None if unit is None else scale * angular
            edges = EdgeGradient(scale * radial, angular, vectors, distance, unit)
            force = edge_forces(edges, data) if forces else None
            virial = edge_virial(edges, data) if stress else None
        return Evaluation(results, arrays, force, virial)

    def _edge_gradients(
        self, data: Data, distance: Tensor, unit: Tensor | None, gradients: bool
    ) -> tuple[Tensor, ...]:
        """∂E/∂r_e, ∂E/∂u_e and the results of the atoms, by a CUDA graph if there is one.

        The two edges of a pair count together: only the sum of the first, and of the second with
        opposite signs, has a meaning.
        """
        csr, gradients = csr_edges(data), gradients and self.has_energy
        atom_weights = self._atom_weights(data, distance.dtype)
        inputs = StaticInputs.of(data.z, atom_weights, csr, distance, unit)
        graph = self.cuda_graphs.get(inputs, self.parameters, gradients)
        if graph is not None:
            return graph(inputs)
        edges = knot_weights(self.knots, self._cutoff_fn, distance, csr, unit)
        basis = self.knots.samples(edges.coefficients, distance)
        return self._torch(data.z, atom_weights, edges, basis, gradients, *self.parameters)

    def values(self, evaluation: Evaluation) -> AtomicValues:
        """What the model's `atomic_values` returns."""
        return select(self._outputs, evaluation.arrays)

    def _results(
        self, data: Data, energy: Tensor | None, arrays: Sequence[Tensor]
    ) -> Tensor | tuple[Tensor, ...]:
        """What the model returns; the energy alone may be known."""
        if energy is not None and self._readout is self._energy:
            return energy
        with _without_autocast(data.pos.device.type):
            return self._readout.reduce(select(self._outputs, arrays), data)

    def _atom_weights(self, data: Data, dtype: torch.dtype) -> Tensor:
        if not self.has_energy:
            return torch.zeros_like(data.z, dtype=dtype)
        return self._energy.atom_weights(batch_index(data), num_structures(data)).to(dtype)


def _without_autocast(device_type: str) -> contextlib.AbstractContextManager:
    available = torch.amp.is_autocast_available(device_type)
    if available and torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()


class Engine:
    """Reads the model of a potential, and keeps what can be used again while it stays as it is.

    Args:
        spacing: of the knots, Å; `None` follows from the model's basis.
    """

    def __init__(self, spacing: float | None = None):
        self.spacing = spacing
        self._last: dict[bool, tuple[nn.Module, Watch, Reading | Refusal]] = {}  # by training mode

    def __reduce__(self):
        return Engine, (self.spacing,)

    def read(self, model: nn.Module, with_energy: bool = False) -> Reading | Refusal:
        """What runs a model fast, or why nothing does.

        Args:
            model: any.
            with_energy: whether its first result is an energy, whose derivatives are wanted.

        Raises:
            InputError: for a spacing that no table of the model can have.
        """
        result = self._read(model)
        if with_energy and isinstance(result, Reading) and not result.has_energy:
            name = type(model.readout).__name__
            reason = f"the energy of {name} is no sum or mean of atomic values; {REMEDY}"
            return Refusal(reason, self._last[model.training][1])
        return result

    def _read(self, model: nn.Module) -> Reading | Refusal:
        last = self._last.get(model.training)
        if last is not None and last[0] is model and not last[1].changed():
            return last[2]
        lowered = lower(model)
        reason = None
        if isinstance(lowered, Lowered):
            reason = _refused(model) or no_rule(lowered.program)
        if reason is not None:
            result = Refusal(f"{reason}; {REMEDY}", lowered.watch)
        elif isinstance(lowered, Lowered):
            result = Reading(model, lowered, self.spacing)
        else:
            result = lowered
        self._last[model.training] = model, lowered.watch, result
        return result


def _refused(model: AtomisticModel) -> str | None:
    """Why a program of a model's atomic values is not enough."""
    name = type(model).__name__
    if next(model.parameters()).dtype not in _PRECISE:
        return f"the parameters of {name} are neither float32 nor float64"
    if not vanishes_beyond(model.cutoff_fn, model.cutoff):
        return f"cutoff_fn, {type(model.cutoff_fn).__name__}, is not 0 beyond the cutoff"
    return None
