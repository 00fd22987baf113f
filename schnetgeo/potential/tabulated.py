"""A trained potential with constant tables of its filters, for dynamics and screening."""

import copy
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.data.graph import with_edges
from schnetgeo.data.validate import check_input
from schnetgeo.engine.engine import Reading
from schnetgeo.engine.numba.prediction import EnergyScale, Grid
from schnetgeo.engine.numba.structures import Measured, measured_structures
from schnetgeo.engine.numba.tables import Filters, FilterTables, build_tables
from schnetgeo.engine.numba.tabulated import TabulatedEnergy
from schnetgeo.engine.program import ModelProgram
from schnetgeo.errors import InputError
from schnetgeo.geometry import batch_index, num_structures
from schnetgeo.nn.readout import SumReadout
from schnetgeo.potential.atomic_energies import ATOMIC_ENERGIES
from schnetgeo.potential.prediction import Prediction, cell_volumes
from schnetgeo.targets import ENERGY


class Tabulation(NamedTuple):
    """What a potential of the energy is, once its filters are tables."""

    potential: nn.Module  # a copy on the CPU
    program: ModelProgram
    parameters: tuple[Tensor, ...]
    tables: FilterTables


def tabulation(potential: nn.Module, tolerance: float) -> Tabulation:
    """The program of a potential, and tables of its filters to a measured error.

    Raises:
        InputError: for another target than the energy, a model that the engine cannot read, or a
            tolerance that no table holds.
    """
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
    filters = Filters.of(potential.model, reading.program.filters, reading.parameters)
    tables = build_tables(filters, tolerance, potential.scale.dtype)
    return Tabulation(potential, reading.program, reading.parameters, tables)


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
        potential, program, parameters, tables = tabulation(potential, tolerance)
        self.spacing, self.error = tables.spacing, tables.error
        self.model, self.targets = potential.model, potential.targets
        references = potential.atomic_references.values.numpy()
        self._energy_scale = EnergyScale(float(potential.scale), references)
        self._grid = Grid(self.spacing, float(self.model.cutoff))
        self._dtype = potential.scale.numpy().dtype
        self._is_sum = type(self.model.readout).atom_weights is SumReadout.atom_weights
        self._energy = TabulatedEnergy(program, parameters, tables.coefficients)

    @property
    def model_name(self) -> str:
        """Name of the class of the model whose filters were tabulated."""
        return type(self.model).__name__

    def __call__(
        self, data: Data, *, forces: bool = True, stress: bool = False, energies: bool = False
    ) -> Prediction:
        """As `Potential`, in evaluation mode and on the CPU."""
        measured = self._measured(data) if _is_complete(data, self.model.cutoff) else None
        if measured is None:
            data, measured = self._checked(data)
        elif self.trained_on is not None:
            self.trained_on.check(data)
        volumes = cell_volumes(data) if stress else None
        weights = self._atom_weights(data)
        energy, derivatives, values = self._energy.predict(
            measured, weights, self._energy_scale, self._grid, forces, stress
        )
        force, virial = map(torch.from_numpy, derivatives)
        if stress:
            virial = (virial / volumes).to(force.dtype)
        energy = torch.from_numpy(energy)
        further = {}
        if energies:
            scale, references = self._energy_scale
            per_atom = weights * (scale * values + references[data.z.numpy()])
            further[ATOMIC_ENERGIES] = torch.from_numpy(per_atom)
        return Prediction(energy, force if forces else None, virial if stress else None, further)

    def _measured(self, data: Data) -> Measured | None:
        return measured_structures(data, self.model.max_z, self._dtype, alone=True)

    def _checked(self, data: Data) -> tuple[Data, Measured]:
        """With edges, or an `InputError` that says what is wrong."""
        check_input(data, self.model.max_z)
        if self.trained_on is not None:
            self.trained_on.check(data)
        is_listed = data.get("edge_index") is not None
        data = with_edges(data, self.model.cutoff, longer=True)
        if not (is_listed or self.trained_on is None):
            self.trained_on.check_distances(data)
        measured = self._measured(data)
        if measured is None:
            raise InputError(
                f"edge_index must lie in 0 … {data.z.numel() - 1} and in one structure, and "
                "edge_reverse must point from each edge j → i to the edge i → j; give every edge "
                "its reverse"
            )
        return data, measured

    def _atom_weights(self, data: Data) -> np.ndarray:
        """What each atom counts in the energy (N,)."""
        if self._is_sum:
            return np.ones(data.z.numel(), self._dtype)
        weights = self.model.readout.atom_weights(batch_index(data), num_structures(data))
        return weights.detach().numpy()


def _is_complete(data: object, cutoff: float) -> bool:
    """Whether atoms have edges that reach far enough, as in a step of dynamics.

    Compiled code then looks at all numbers, and what it does not take is checked one by one.
    """
    if not isinstance(data, Data):
        return False
    fields = data.to_dict()
    z, pos, reach = fields.get("z"), fields.get("pos"), fields.get("edge_cutoff")
    if not all(map(torch.is_tensor, (z, pos, reach, fields.get("edge_index")))):
        return False
    if z.dtype not in (torch.int64, torch.int32) or pos.shape != (*z.shape, 3):
        return False
    if not pos.is_floating_point() or z.device.type != "cpu" or not reach.numel():
        return False
    return float(reach.min()) >= cutoff
