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
from schnetgeo.engine.lowering.refusal import REMEDY
from schnetgeo.engine.lowering.watch import Watch
from schnetgeo.engine.numba.energy import Atoms, NumbaEnergy, refusal
from schnetgeo.engine.torch.energy import TorchEnergy
from schnetgeo.geometry import batch_index, num_structures
from schnetgeo.nn.model import AtomisticModel
from schnetgeo.nn.readout import MeanReadout, SumReadout, sum_atoms

_PRECISE = (torch.float32, torch.float64)  # half precision would lose several times more
_ATOM_WEIGHTS = {SumReadout.atom_weights, MeanReadout.atom_weights}


class EdgeEnergy(NamedTuple):
    """Results of structures and their gradients for edges; gradients flow to parameters.

    The two edges of a pair count together: only the sum of their `radial`, and of their `angular`
    with opposite signs, has a meaning.
    """

    energy: Float[Tensor, "B"]
    radial: Float[Tensor, "E"]  # ∂E/∂r_e
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
        self.knots = Knots(model.basis, model.cutoff, spacing)
        self.numba_refusal = refusal(self.program, model.basis)
        self._cutoff_fn, self._readout = model.cutoff_fn, model.readout
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
        """Results and edge gradients, by compiled code where it can.

        Args:
            data: structures with sorted edges.
            distance, unit: lengths of the edges, and directions if the model looks at them.
            gradients: whether edge gradients are wanted; they are 0 otherwise.
        """
        csr, batch, number = csr_edges(data), batch_index(data), num_structures(data)
        atom_weights = self._readout.atom_weights(batch, number).to(distance.dtype)
        inputs = StaticInputs.of(data.z, atom_weights, csr, distance, unit)
        graph = self.cuda_graphs.get(inputs, self.parameters, gradients)
        if graph is not None:
            values, radial, angular = graph(inputs)
            return EdgeEnergy(sum_atoms(atom_weights * values, batch, number), radial, angular)
        edges = knot_weights(self.knots, self._cutoff_fn, distance, csr, unit)
        basis = self.knots.samples(edges.coefficients, distance)
        compiled = self._compiled(data, atom_weights, edges)
        if compiled is not None:
            result = self._numba(compiled, basis, gradients, *self.parameters)
        else:
            values, *rest = self._torch(
                data.z, atom_weights, edges, basis, gradients, *self.parameters
            )
            result = sum_atoms(atom_weights * values, batch, number), *rest
        energy, radial, angular = result
        return EdgeEnergy(energy, radial, angular if self.is_directed else None)

    def is_compiled_for(self, data: Data, distance: Float[Tensor, "E"]) -> bool:
        """Whether compiled code runs a batch on the CPU: threads can share its structures."""
        edges = knot_weights(self.knots, self._cutoff_fn, distance, csr_edges(data))
        batch = batch_index(data), num_structures(data)
        atom_weights = self._readout.atom_weights(*batch).to(distance.dtype)
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

    def read(self, model: nn.Module) -> Reading | Refusal:
        """What runs a model fast, or why nothing does.

        Raises:
            InputError: for a spacing that no table of the model can have.
        """
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
    weights = getattr(type(model.readout), "atom_weights", None)
    if weights is None:
        return f"{type(model.readout).__name__} is no sum or mean over atoms"
    if weights not in _ATOM_WEIGHTS or "atom_weights" in vars(model.readout):
        return f"{type(model.readout).__name__} has atom_weights of its own"
    if next(model.parameters()).dtype not in _PRECISE:
        return f"the parameters of {name} are neither float32 nor float64"
    if not vanishes_beyond(model.cutoff_fn, model.cutoff):
        return f"cutoff_fn, {type(model.cutoff_fn).__name__}, is not 0 beyond the cutoff"
    return None
