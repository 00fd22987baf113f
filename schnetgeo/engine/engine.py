"""Which implementation computes a potential, and why."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.engine.cuda.cache import CudaGraphCache
from schnetgeo.engine.cuda.static_inputs import StaticInputs
from schnetgeo.engine.edges import KnotWeights, csr_edges, knot_weights, vanishes_beyond
from schnetgeo.engine.knots import Knots
from schnetgeo.engine.lowering.lower import Lowered, Refusal, lower
from schnetgeo.engine.lowering.outputs import select
from schnetgeo.engine.lowering.refusal import REMEDY
from schnetgeo.engine.lowering.watch import Watch
from schnetgeo.engine.numba.energy import Atoms, NumbaEnergy, refusal
from schnetgeo.engine.torch.energy import TorchEnergy
from schnetgeo.geometry import batch_index, num_structures
from schnetgeo.nn.model import AtomisticModel
from schnetgeo.nn.readout import AtomicValues, Readout

_PRECISE = (torch.float32, torch.float64)  # half precision would lose several times more


class EdgeEnergy(NamedTuple):
    """What a model returns, and gradients of the energy; gradients flow to parameters.

    The two edges of a pair count together: only the sum of their `radial`, and of their `angular`
    with opposite signs, has a meaning.
    """

    results: Tensor | tuple[Tensor, ...]  # what the model returns; the first may be the energy
    values: AtomicValues  # what its `atomic_values` returns, in the same tuples
    radial: Float[Tensor, "E"]  # ∂E/∂r_e, 0 where there is no energy
    angular: Float[Tensor, "E 3"] | None  # ∂E/∂u_e, where the model looks at directions


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
        if isinstance(model.readout, Readout):
            self._energy = model.readout.linear
        if self._energy is None:
            self.program = self.program._replace(energy=None)
        self.knots = Knots(model.basis, model.cutoff, spacing)
        self.numba_refusal = refusal(self.program, model.basis)
        self._cutoff_fn = model.cutoff_fn
        self._numba: NumbaEnergy | None = None
        self._torch = TorchEnergy(self.program)
        self.is_directed = self._torch.executor.is_directed
        self.cuda_graphs = CudaGraphCache(self._torch.executor, self.knots, model.cutoff_fn)

    def evaluate(
        self,
        data: Data,
        distance: Float[Tensor, "E"],
        unit: Float[Tensor, "E 3"] | None,
        gradients: bool,
    ) -> EdgeEnergy:
        """What the model returns and edge gradients, by compiled code where it can.

        Args:
            data: structures with sorted edges.
            distance, unit: lengths of the edges, and directions if the model looks at them.
            gradients: whether edge gradients are wanted; they are 0 otherwise.
        """
        csr, gradients = csr_edges(data), gradients and self.has_energy
        atom_weights = self._atom_weights(data, distance.dtype)
        inputs = StaticInputs.of(data.z, atom_weights, csr, distance, unit)
        graph = self.cuda_graphs.get(inputs, self.parameters, gradients)
        if graph is not None:
            return self._edge_energy(data, None, *graph(inputs))
        edges = knot_weights(self.knots, self._cutoff_fn, distance, csr, unit)
        basis = self.knots.samples(edges.coefficients, distance)
        compiled = self._compiled(data, atom_weights, edges)
        if compiled is not None:
            arrays = self._numba(compiled, basis, gradients, *self.parameters)
            return self._edge_energy(data, *arrays)
        arrays = self._torch(data.z, atom_weights, edges, basis, gradients, *self.parameters)
        return self._edge_energy(data, None, *arrays)

    @property
    def has_energy(self) -> bool:
        """Whether the first result may be an energy: a sum or mean of atomic values."""
        return self._energy is not None

    def _edge_energy(
        self, data: Data, energy: Tensor | None, radial: Tensor, angular: Tensor, *arrays: Tensor
    ) -> EdgeEnergy:
        values = select(self._outputs, arrays)
        results = energy if self._readout is self._energy else None
        if results is None:
            results = self._readout.reduce(values, data)
        return EdgeEnergy(results, values, radial, angular if self.is_directed else None)

    def _atom_weights(self, data: Data, dtype: torch.dtype) -> Tensor:
        if not self.has_energy:
            return torch.zeros_like(data.z, dtype=dtype)
        return self._energy.atom_weights(batch_index(data), num_structures(data)).to(dtype)

    def is_compiled_for(self, data: Data, distance: Float[Tensor, "E"]) -> bool:
        """Whether compiled code runs a batch on the CPU: threads can share its structures."""
        edges = knot_weights(self.knots, self._cutoff_fn, distance, csr_edges(data))
        atom_weights = self._atom_weights(data, distance.dtype)
        return self._compiled(data, atom_weights, edges) is not None

    def _compiled(self, data: Data, atom_weights: Tensor, edges: KnotWeights) -> tuple | None:
        """The batch as compiled code takes it; `None` where it does not serve."""
        on_cpu = atom_weights.device.type == "cpu"
        if self.numba_refusal is not None or not on_cpu:
            return None
        ptr = data.get("ptr")
        if ptr is None:
            if num_structures(data) != 1:
                return None
            ptr = torch.tensor([0, data.z.numel()])
        if self._numba is None:
            self._numba = NumbaEnergy(self.program, self.parameters)
        return self._numba.prepare(Atoms(data.z, ptr, atom_weights), edges)


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
        reason = _refused(model) if isinstance(lowered, Lowered) else None
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
