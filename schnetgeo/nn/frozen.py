"""A trained potential with its filters tabulated once, for dynamics and screening."""

import copy
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.data.neighbors import reverse_edges, sorted_edges, with_edges
from schnetgeo.data.validate import check_input
from schnetgeo.errors import InputError
from schnetgeo.geometry import batch_index, lattice_offsets, num_structures
from schnetgeo.nn import molecule
from schnetgeo.nn.built import FastSchNet
from schnetgeo.nn.cutoff import StepCutoff
from schnetgeo.nn.mlp import ShiftedSoftplus
from schnetgeo.nn.readout import SumReadout
from schnetgeo.nn.schnet import SchNet
from schnetgeo.nn.spline import Knots, PlacedFilters
from schnetgeo.nn.whole import Weights
from schnetgeo.ops import bspline, memory
from schnetgeo.ops.cpu import first_edges
from schnetgeo.potential.edge_forces import virial_from_edges
from schnetgeo.potential.potential import Prediction, cell_volumes, is_intensive

_SMALL = 96  # atoms, up to which one compiled function is fastest
_FINEST = 2**16  # knots of a table
_NO_SHIFT = np.empty((0, 3), np.int64)
_PROBES = 8  # places per interval where a table is compared with the network


class Tables(NamedTuple):
    """Filters of all layers on knots from −1 to n + 2, h = cutoff / n apart."""

    coefficients: Tensor  # (L, n + 4, F)
    spacing: float  # Å
    error: float  # the largest of values and of slopes, relative to the largest value and slope


def tabulate(model: SchNet, tolerance: float, spacing: float) -> Tables:
    """Tables of f · W that err by at most `tolerance`, as measured between knots.

    Args:
        model: a SchNet.
        tolerance: largest error of values and slopes, relative to the largest.
        spacing: of the knots to begin with, Å.

    Raises:
        InputError: if no table holds the tolerance, in the type of the model's numbers.
    """
    if not tolerance > 0:
        raise InputError(f"tolerance must be positive, such as 1e-5, got {tolerance}")
    number = min(math.ceil(model.cutoff / spacing), _FINEST)
    best = None
    while number <= _FINEST:
        table = _tables(model, number)
        error = _error(model, table, number)
        if error <= tolerance:
            return Tables(table, model.cutoff / number, error)
        if best is not None and not error < 0.9 * best:
            break  # rounding, which finer knots do not mend
        best, number = error, 2 * number
    raise InputError(
        f"tolerance={tolerance} cannot be held: the best table errs by {best:.1e} in "
        f"{model.embedding.weight.dtype}; raise it, or freeze potential.double()"
    )


@torch.no_grad()
def _tables(model: SchNet, number: int) -> Tensor:
    spacing = model.cutoff / number
    r = torch.arange(-2, number + 4, dtype=torch.float64) * spacing
    f = model.cutoff_fn(r.abs())
    for m in range(number + 2, number + 6):  # smoothly on where it is cut
        f0, f1, f2, f3, f4, f5 = f[m - 6 : m]
        f[m] = 6 * f5 - 15 * f4 + 20 * f3 - 15 * f2 + 6 * f1 - f0
    samples = [f.unsqueeze(-1) * network(model.basis(r)) for network in _networks(model)]
    tables = torch.stack([bspline.coefficients(s) for s in samples])
    return tables.to(model.embedding.weight.dtype)


def _error(model: SchNet, tables: Tensor, number: int) -> float:
    """Largest errors of values and of slopes between the knots, relative to the largest."""
    spacing, errors = model.cutoff / number, []
    interval = torch.arange(0, number, max(1, number // 512)).repeat_interleave(_PROBES)
    t = ((torch.arange(interval.numel()) % _PROBES) + 0.5).double() / _PROBES
    r = (interval + t) * spacing
    for network, table in zip(_networks(model), tables.double(), strict=True):

        def filter(r: Tensor, network: nn.Module = network) -> Tensor:
            return model.cutoff_fn(r).unsqueeze(-1) * network(model.basis(r))

        exact = torch.func.jvp(filter, (r,), (torch.ones_like(r),))
        for order, want in enumerate(exact):
            got = bspline.values(table, interval, bspline.weights(t, order)) / spacing**order
            errors.append((got - want).abs().max() / want.abs().max().clamp(min=1e-30))
    return float(torch.stack(errors).max())


def _networks(model: SchNet) -> list[nn.Module]:
    return [copy.deepcopy(i.conv.filter).double().requires_grad_(False) for i in model.interactions]


class _Tabulated(nn.Module):
    """A SchNet that looks its filters up."""

    def __init__(self, model: SchNet, tables: Tables):
        super().__init__()
        self.cutoff, self.max_z = model.cutoff, model.max_z
        self.model, self.tables = model, tables.coefficients
        self.readout = model.readout
        self.knots = Knots(model.basis, model.cutoff, tables.spacing)
        self.numbers = range(-1, tables.coefficients.size(1) - 1)
        self.cutoff_fn = StepCutoff(model.cutoff)  # the tables contain it


class _FastTabulated(FastSchNet):
    """What a potential asks in place of the `FastSchNet` of the model before."""

    def serves(self, model: nn.Module) -> bool:
        return isinstance(model, _Tabulated)

    def energy_and_slope(
        self, model: _Tabulated, data: Data, distance: Tensor, with_slope: bool = True
    ):
        placed = PlacedFilters(model.knots, model.cutoff_fn, data, distance, model.numbers)
        return self.through(model.model, placed, data, with_slope, model.tables)


class FrozenPotential:
    """What `Potential.freeze` gives: the same call, many times faster for small systems.

    Below a hundred atoms the whole model is one compiled function, where the activations are the
    shifted softplus (in the readout also SiLU).

    Args:
        potential: with a SchNet of CFConv layers.
        tolerance: largest relative error of the tabulated filters and of their slopes.

    Attributes:
        spacing: of the knots, Å.
        error: what was measured.

    Raises:
        InputError: for another kind of model, or a tolerance that no table holds.
    """

    def __init__(self, potential: nn.Module, tolerance: float = 1e-5):
        _check(potential)
        potential = copy.deepcopy(potential).cpu().eval()
        model = potential.model
        tables = tabulate(model, tolerance, potential.fast.knots.spacing)
        self.spacing, self.error = tables.spacing, tables.error
        self.model = potential.model = _Tabulated(model, tables)
        potential.fast = _FastTabulated(model, None)
        self._potential = potential
        self._intensive = is_intensive(model)
        self._copy_weights()

    @property
    def model_name(self) -> str:
        """Name of the class of the model whose filters were tabulated."""
        return type(self.model.model).__name__

    def _copy_weights(self) -> None:
        model, scale = self.model.model, float(self._potential.scale)
        self._weights = None
        if _is_plain(model):
            self._weights = _weights(model, self.model.tables, scale)
            self._embedding = _array(model.embedding.weight)
            self._silu = type(model.readout.activation) is nn.SiLU
        self._references = _array(self._potential.atomic_references.energies)

    def __getstate__(self) -> dict:
        """Without the arrays, which would come out elsewhere on a cache line."""
        arrays = "_weights", "_embedding", "_references"
        return {name: value for name, value in vars(self).items() if name not in arrays}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._copy_weights()

    @torch.no_grad()
    def __call__(self, data: Data, *, forces: bool = True, stress: bool = False) -> Prediction:
        """As `Potential`, in evaluation mode and on the CPU."""
        check_input(data, self.model.max_z)
        if self._weights is None or data.z.numel() > _SMALL:
            return self._potential(data, forces=forces, stress=stress)
        if self._potential.trained_on is not None:
            self._potential.trained_on.check(data)
        data = with_edges(data, self.model.cutoff, longer=True)
        volumes = cell_volumes(data) if stress else None
        number, atoms, z = num_structures(data), self._molecule(data), data.z.numpy()
        result = molecule.evaluate(
            atoms, self._embedding[z], self._weights, self._silu, self.model.cutoff, self.spacing
        )
        batch = batch_index(data).numpy()
        energy = np.bincount(batch, atoms.share * result.y.astype(np.float64), number)
        references = np.bincount(batch, self._references[z], number)
        energy += references / np.bincount(batch) if self._intensive else references
        virial = None
        if stress:
            virial = _virial(data, atoms, result, number) / volumes
            virial = virial.to(self._potential.scale.dtype)
        forces = torch.from_numpy(result.forces) if forces else None
        return Prediction(torch.from_numpy(energy), forces, virial)

    def _molecule(self, data: Data) -> molecule.Molecule:
        edge_index, z = data.edge_index.numpy(), data.z
        reverse, shift = data.get("edge_reverse"), data.get("edge_shift")
        if reverse is None:
            none = data.edge_index.new_zeros(data.edge_index.size(1), 3)
            reverse = reverse_edges(data.edge_index, none if shift is None else shift, z.numel())
        crossed = _NO_SHIFT if shift is None else shift.numpy()
        start = first_edges(*edge_index, reverse.numpy(), crossed, z.numel())
        if start[0] < 0:
            ordered = sorted_edges(data)
            if ordered is not data:
                return self._molecule(ordered)
            raise InputError(
                f"edge_index must lie in 0 … {z.numel() - 1}, and edge_reverse must point from "
                "each edge j → i to the edge i → j; give every edge its reverse"
            )
        offset = lattice_offsets(data, torch.float64)
        offset = np.empty((0, 3)) if offset is None else offset.numpy()
        pos = data.pos.detach().double().numpy()
        graph = edge_index[0], start, reverse.numpy(), offset, self._share(data)
        return molecule.Molecule(pos, *graph)

    def _share(self, data: Data) -> np.ndarray:
        readout = self.model.model.readout
        if type(readout) is SumReadout:
            return np.ones(data.z.numel(), self._embedding.dtype)
        weights = readout.atom_weights(batch_index(data), num_structures(data))
        return weights.detach().numpy()


def _virial(data: Data, atoms: molecule.Molecule, result: molecule.Result, number: int) -> Tensor:
    slope, distance = torch.from_numpy(result.slope), torch.from_numpy(result.distance)
    vectors = torch.from_numpy(result.unit) * distance.unsqueeze(1)
    start = torch.from_numpy(atoms.start)
    target = torch.arange(start.numel() - 1).repeat_interleave(start.diff())
    structure = batch_index(data).index_select(0, target)
    return virial_from_edges(slope, vectors, distance, structure, number)


def _check(potential: nn.Module) -> None:
    if not isinstance(potential.model, SchNet) or not potential.is_fast:
        raise InputError(
            f"freeze is for a SchNet of CFConv layers with filters='spline' and without hooks, "
            f"got {type(potential.model).__name__}"
        )


def _is_plain(model: SchNet) -> bool:
    """Whether the compiled function knows the activations."""
    last = type(model.readout.activation)
    inner = type(model.interactions[0].activation)
    return inner is ShiftedSoftplus and last in (ShiftedSoftplus, nn.SiLU)


def _weights(model: SchNet, tables: Tensor, scale: float) -> Weights:
    def stack(name: str, turned: bool = True) -> np.ndarray:
        weights = torch.stack([getattr(i, name).weight for i in model.interactions])
        return _array(weights.mT if turned else weights)

    def biases(name: str) -> np.ndarray:
        own = [getattr(i, name).bias for i in model.interactions]
        none = torch.zeros(tables.size(2)).to(tables)
        return _array(torch.stack([none if b is None else b for b in own]))

    first, last = model.readout.lin1, model.readout.lin2
    return Weights(
        stack("lin1"), biases("lin1"), stack("lin2"), biases("lin2"), stack("lin3"), biases("lin3"),
        stack("lin1", False), stack("lin2", False), stack("lin3", False), _array(tables),
        _array(first.weight.t()), _array(first.bias), _array(first.weight),
        _array(scale * last.weight[0]), _array(scale * last.bias),
    )  # fmt: skip


def _array(tensor: Tensor) -> np.ndarray:
    """A copy that nothing else moves or frees, as sending a tensor to another process does."""
    values = tensor.detach().numpy()
    out = memory.empty(values.shape, values.dtype)
    out[...] = values
    return out
