"""A trained potential with its filters tabulated once, for dynamics and screening."""

import copy
import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.data.neighbors import reverse_edges, sorted_edges, with_edges
from schnetgeo.data.validate import check_elements
from schnetgeo.errors import InputError
from schnetgeo.geometry import (
    batch_index,
    edge_vectors,
    lattice_vectors,
    num_structures,
    pair_virial,
)
from schnetgeo.nn import whole
from schnetgeo.nn.mlp import ShiftedSoftplus
from schnetgeo.nn.potential import Prediction, cell_volumes
from schnetgeo.nn.readout import SumReadout
from schnetgeo.nn.schnet import SchNet
from schnetgeo.ops import bspline

_FINEST = 2**16  # knots of a table
_NO_SHIFT = np.empty((0, 3), np.int64)
_PROBES = 8  # places per interval where a table is compared with the network


class Tables(NamedTuple):
    """Filters of all layers on knots from −1 to n + 2, h = cutoff / n apart."""

    coefficients: Tensor  # (L, n + 4, F)
    spacing: float  # Å
    error: float  # the largest of values and of slopes, relative to the largest value and slope


def tabulate(model: SchNet, tolerance: float) -> Tables:
    """Tables of envelope · filter that err by at most `tolerance`, as measured between knots.

    Raises:
        InputError: if no table holds the tolerance, in the type of the model's numbers.
    """
    number = min(math.ceil(model.cutoff / model.knots.spacing), _FINEST)
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
    envelope = model.envelope(r.abs())
    for m in range(number + 2, number + 6):  # smoothly on where the envelope is cut
        a, b, c, d, e, f = envelope[m - 6 : m]
        envelope[m] = 6 * f - 15 * e + 20 * d - 15 * c + 6 * b - a
    samples = [envelope.unsqueeze(-1) * network(model.basis(r)) for network in _networks(model)]
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
            return model.envelope(r).unsqueeze(-1) * network(model.basis(r))

        exact = torch.func.jvp(filter, (r,), (torch.ones_like(r),))
        for order, want in enumerate(exact):
            got = bspline.values(table, interval, bspline.weights(t, order)) / spacing**order
            errors.append((got - want).abs().max() / want.abs().max().clamp(min=1e-30))
    return float(torch.stack(errors).max())


def _networks(model: SchNet) -> list[nn.Module]:
    return [copy.deepcopy(i.conv.filter).double().requires_grad_(False) for i in model.interactions]


class FrozenPotential:
    """What `Potential.freeze` gives: the same call, many times faster for small systems.

    Args:
        potential: with a SchNet of CFConv layers, shifted softplus, and a readout with that or
            SiLU.
        tolerance: largest relative error of the tabulated filters and of their slopes.

    Attributes:
        spacing: of the knots, Å.
        error: what was measured.

    Raises:
        InputError: for another kind of model, or a tolerance that no table holds.
    """

    def __init__(self, potential: nn.Module, tolerance: float = 1e-5):
        _check(potential.model)
        potential = copy.deepcopy(potential).cpu().eval()
        model = potential.model
        self.potential = potential
        self.cutoff = model.cutoff
        self.max_z = model.max_z
        tables = tabulate(model, tolerance)
        self.spacing, self.error = tables.spacing, tables.error
        self._weights = _weights(model, tables.coefficients)
        self._references = potential.references.energies.numpy()
        self._scale = float(potential.scale)

    @torch.no_grad()
    def __call__(self, data: Data, *, forces: bool = True, stress: bool = False) -> Prediction:
        """As `Potential`, in evaluation mode and on the CPU; `forces` cost nothing more."""
        check_elements(data, self.max_z)
        volumes = cell_volumes(data) if stress else None
        data = sorted_edges(with_edges(data, self.cutoff))
        number, share, graph = self._graph(data)
        result = whole.evaluate(graph, self._weights, self.cutoff, self.spacing)
        atomic = self._scale * (share * result.y.astype(np.float64)) + self._references[graph.z]
        if number == 1:
            energy = atomic.sum(keepdims=True)
        else:
            energy = np.bincount(batch_index(data).numpy(), atomic, number)
        virial = self._virial(data, graph, result) / volumes if stress else None
        return Prediction(
            torch.from_numpy(energy),
            torch.from_numpy(result.forces).mul_(self._scale) if forces else None,
            virial,
        )

    def _graph(self, data: Data) -> tuple[int, np.ndarray, whole.Graph]:
        z, number = data.z, num_structures(data)
        edge_index = data.edge_index.numpy()
        reverse, shift = data.get("edge_reverse"), data.get("edge_shift")
        if data.pos.shape != (z.numel(), 3):
            raise InputError(
                f"pos must have shape ({z.numel()}, 3), a row per atom, got {tuple(data.pos.shape)}"
            )
        if reverse is None:
            none = data.edge_index.new_zeros(data.edge_index.size(1), 3)
            reverse = reverse_edges(data.edge_index, none if shift is None else shift, z.numel())
        crossed = _NO_SHIFT if shift is None else shift.numpy()
        start = whole.starts(*edge_index, reverse.numpy(), crossed, z.numel())
        if start[0] < 0:
            raise InputError(
                f"edge_index must lie in 0 … {z.numel() - 1}, and edge_reverse must point from "
                "each edge j → i to the edge i → j; give every edge its reverse"
            )
        offset = np.empty((0, 3))
        if shift is not None:
            cell = data.cell.double().index_select(0, batch_index(data))
            offset = lattice_vectors(shift, cell.index_select(0, data.edge_index[1])).numpy()
        share = self._share(data, number)
        pos = data.pos.detach().double().numpy()
        graph = whole.Graph(z.numpy(), pos, edge_index[0], start, reverse.numpy(), offset, share)
        return number, share, graph

    def _share(self, data: Data, number: int) -> np.ndarray:
        readout, dtype = self.potential.model.readout, self.potential.scale.dtype
        if type(readout) is SumReadout:
            return np.ones(data.z.numel(), self._weights.tables.dtype)
        return readout.shares(batch_index(data), number, dtype).numpy()

    def _virial(self, data: Data, graph: whole.Graph, result: whole.Scratch) -> Tensor:
        both = torch.from_numpy(result.slope + result.slope[graph.reverse]) * self._scale
        vectors = edge_vectors(data).to(both.dtype)
        structure = batch_index(data).index_select(0, data.edge_index[1])
        return pair_virial(both, vectors, structure, num_structures(data))


def _check(model: nn.Module) -> None:
    if not isinstance(model, SchNet) or not model.has_slopes:
        raise InputError(
            f"freeze is for a SchNet of CFConv layers with filters='spline' and without hooks, "
            f"got {type(model).__name__}"
        )
    for activation, known in (
        (model.interactions[0].activation, (ShiftedSoftplus,)),
        (model.readout.activation, (ShiftedSoftplus, nn.SiLU)),
    ):
        if type(activation) not in known:
            names = " or ".join(k.__name__ for k in known)
            raise InputError(f"freeze knows {names} here, got {type(activation).__name__}")


def _weights(model: SchNet, tables: Tensor) -> whole.Weights:
    def stack(name: str, attribute: str, back: bool = False) -> np.ndarray:
        all_layers = torch.stack([getattr(getattr(i, name), attribute) for i in model.interactions])
        return _array(all_layers if back or attribute == "bias" else all_layers.mT)

    readout = model.readout
    powers = 1 - math.frexp(torch.finfo(tables.dtype).tiny)[1]  # without denormal numbers
    no_bias = model.interactions[0].lin1.bias is None
    zeros = np.zeros((len(model.interactions), tables.size(2)), _array(tables).dtype)
    return whole.Weights(
        _array(model.embedding.weight),
        stack("lin1", "weight"), zeros if no_bias else stack("lin1", "bias"),
        stack("lin2", "weight"), stack("lin2", "bias"),
        stack("lin3", "weight"), stack("lin3", "bias"),
        stack("lin1", "weight", True), stack("lin2", "weight", True), stack("lin3", "weight", True),
        _array(tables),
        _array(readout.lin1.weight.t()), _array(readout.lin1.bias), _array(readout.lin1.weight),
        _array(readout.lin2.weight[0]), _array(readout.lin2.bias)[0],
        type(readout.activation) is nn.SiLU,
        _array(torch.tensor(0.5, dtype=tables.dtype) ** torch.arange(powers)),
    )  # fmt: skip


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()
