"""A trained potential with constant tables of its filters, for dynamics and screening."""

import copy

import numpy as np
import torch
from torch import nn
from torch_geometric.data import Data

from schnetgeo.data.edges import reverse_edges
from schnetgeo.data.graph import sort_edges, with_edges
from schnetgeo.data.validate import check_input
from schnetgeo.engine.engine import Reading
from schnetgeo.engine.numba.prediction import Scales
from schnetgeo.engine.numba.tables import Filters, build_tables
from schnetgeo.engine.numba.tabulated import TabulatedEnergy
from schnetgeo.errors import InputError
from schnetgeo.geometry import batch_index, lattice_offsets, num_structures
from schnetgeo.ops.numba_backend import first_edges
from schnetgeo.potential.prediction import Prediction, cell_volumes
from schnetgeo.targets import ENERGY

_NO_SHIFT, _NO_OFFSET = np.empty((0, 3), np.int64), np.empty((0, 3))


class TabulatedPotential:
    """What `Potential.tabulate` gives: the same call, many times faster for small systems.

    Args:
        potential: of a model that the engine can read, see `schnetgeo.engine.explain`.
        tolerance: largest relative error of the tabulated filters and of their derivatives.

    Attributes:
        spacing: of the knots, Å.
        targets: the energy alone.
        error: what was measured.

    Raises:
        InputError: for another kind of model, or a tolerance that no table holds.
    """

    def __init__(self, potential: nn.Module, tolerance: float = 1e-5):
        self.trained_on = potential.trained_on
        potential = copy.deepcopy(potential).cpu().eval()
        if [target.name for target in potential.targets] != [ENERGY.name]:
            raise InputError(
                f"tabulate is for potentials of the energy alone, but this one predicts "
                f"{', '.join(map(str, potential.targets))}; call the potential itself"
            )
        reading = potential.engine.read(potential.model, with_energy=True)
        if not isinstance(reading, Reading):
            raise InputError(f"tabulate is for models that the engine reads, but {reading.reason}")
        if reading.numba_refusal is not None:
            raise InputError(f"tabulate needs compiled code, but {reading.numba_refusal}")
        model, parameters = potential.model, reading.parameters
        filters = Filters.of(model, reading.program.filters, parameters)
        tables = build_tables(filters, tolerance, potential.scale.dtype)
        self.spacing, self.error = tables.spacing, tables.error
        self.model = model
        self.targets = potential.targets
        self._scale, self._dtype = float(potential.scale), potential.scale.dtype
        self._references = potential.atomic_references.values.numpy()
        self._energy = TabulatedEnergy(reading.program, parameters, tables.coefficients)

    @property
    def model_name(self) -> str:
        """Name of the class of the model whose filters were tabulated."""
        return type(self.model).__name__

    @torch.no_grad()
    def __call__(self, data: Data, *, forces: bool = True, stress: bool = False) -> Prediction:
        """As `Potential`, in evaluation mode and on the CPU."""
        check_input(data, self.model.max_z)
        if self.trained_on is not None:
            self.trained_on.check(data)
        is_listed = data.get("edge_index") is not None
        data = with_edges(data, self.model.cutoff, longer=True)
        if not (is_listed or self.trained_on is None):
            self.trained_on.check_distances(data)
        volumes = cell_volumes(data) if stress else None
        data, graph = _graph(data)
        offset = lattice_offsets(data, torch.float64)
        offset = _NO_OFFSET if offset is None else offset.numpy()
        results = self._energy.predict(
            data.z.numpy(), data.pos.detach().double().numpy(), _ptr(data), graph, offset,
            self._atom_weights(data), self._references,
            Scales(self._scale, float(self.model.cutoff), self.spacing), stress,
        )  # fmt: skip
        energy, force, virial = map(torch.from_numpy, results[:3])
        if stress:
            virial = (virial / volumes).to(force.dtype)
        return Prediction(energy, force if forces else None, virial if stress else None)

    def _atom_weights(self, data: Data) -> np.ndarray:
        batch, number = batch_index(data), num_structures(data)
        return self.model.readout.atom_weights(batch, number).to(self._dtype).numpy()


def _ptr(data: Data) -> np.ndarray:
    """First atom of each structure."""
    ptr = data.get("ptr")
    if ptr is None:
        number = num_structures(data)
        counts = torch.bincount(batch_index(data), minlength=number)
        ptr = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    return ptr.numpy()


def _graph(data: Data) -> tuple[Data, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A structure with sorted edges; source, row pointers and reverse of these.

    Raises:
        InputError: for edges that have no reverse, or lead to atoms that are not there.
    """
    edge_index, shift, reverse = (
        data.edge_index.numpy(),
        data.get("edge_shift"),
        data.get("edge_reverse"),
    )
    count = data.z.numel()
    if reverse is None:
        none = data.edge_index.new_zeros(data.edge_index.size(1), 3)
        reverse = reverse_edges(data.edge_index, none if shift is None else shift, count)
    crossed = _NO_SHIFT if shift is None else shift.numpy()
    row_pointers = first_edges(*edge_index, reverse.numpy(), crossed, count)
    if row_pointers[0] >= 0:
        return data, (edge_index[0], row_pointers, reverse.numpy())
    ordered = sort_edges(data)
    if ordered is not data:
        return _graph(ordered)
    raise InputError(
        f"edge_index must lie in 0 … {count - 1}, and edge_reverse must point from each edge j → i "
        "to the edge i → j; give every edge its reverse"
    )
