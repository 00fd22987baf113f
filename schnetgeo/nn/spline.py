"""Filters as splines: the filter network runs on knots instead of edges."""

import math
from functools import cached_property
from numbers import Real
from types import ModuleType

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo import ops
from schnetgeo.data.neighbors import reverse_edges
from schnetgeo.errors import InputError
from schnetgeo.nn.basis import GaussianBasis
from schnetgeo.nn.cutoff import CosineCutoff, StepCutoff
from schnetgeo.nn.known import Written, is_patched
from schnetgeo.ops import bspline

_MOST = 1_000_000  # knots
_ALIGN = 16  # knots; ranges of few lengths let memory of one be used for another
_WRITTEN = {cls: Written(cls) for cls in (GaussianBasis, CosineCutoff, StepCutoff)}


class Knots:
    """The places r_m = m h where filter networks are evaluated for W(r) = Σ_q B_q(t) c_{k+q}.

    The knots are multiples of the spacing whatever their range, so that a filter does not depend
    on the other edges of a batch. The cutoff function stays outside: it has a kink in its second
    derivative at the cutoff, which a spline would smear. Values err as h⁴, slopes as h³.

    Args:
        basis: functions e(r), (E,) to (E, K).
        cutoff: r_c in Å.
        spacing: h in Å.

    Raises:
        InputError: for a spacing that is not positive, exceeds the cutoff, or is far too small.
    """

    def __init__(self, basis: nn.Module, cutoff: float, spacing: float):
        if not 0 < spacing <= cutoff:
            raise InputError(f"spacing must lie in 0 … cutoff = {cutoff} Å, got {spacing}")
        if cutoff / spacing > _MOST:
            raise InputError(
                f"a spacing of {spacing} Å makes {cutoff / spacing:.3g} knots up to the cutoff, "
                f"more than {_MOST:,}; raise spacing, or lower gamma where it is not given"
            )
        self.basis = basis
        self.cutoff = cutoff
        self.spacing = spacing
        self._numbers = _numbers(basis)
        self._kept: tuple = (None, None)

    def serve(self, basis: nn.Module, cutoff_fn: nn.Module) -> bool:
        """Whether filters on these knots are those of a basis, in training too.

        That is so for the basis they were built for, as it was then, and for a cutoff function that
        is 0 where the knots end, both functions of numbers, none of which is trained.
        """
        if basis is not self.basis or self._numbers is None or _numbers(basis) != self._numbers:
            return False
        if type(cutoff_fn) not in (CosineCutoff, StepCutoff) or not _is_as_written(cutoff_fn):
            return False
        return isinstance(cutoff_fn.cutoff, Real) and cutoff_fn.cutoff <= self.cutoff

    def range(self, distance: Float[Tensor, "E"]) -> range:
        """Numbers m of the coefficients that the distances below the cutoff need."""
        first, last = 0, math.floor(self.cutoff / self.spacing)
        if distance.device.type == "cpu" and distance.numel():  # a GPU would have to be waited for
            low, high = distance.detach().aminmax()
            first = min(math.floor(float(low) / self.spacing), last)
            last = min(math.floor(float(high) / self.spacing), last)
        first, last = first // _ALIGN * _ALIGN, -(-(last + 1) // _ALIGN) * _ALIGN
        return range(first - 1, last + 2)

    def samples(self, numbers: range, like: Tensor) -> Float[Tensor, "M+2 K"]:
        """Basis functions on the knots and on one more at each end."""
        key, most = (like.dtype, like.device), self.range(like.new_empty(0))
        if self._kept[0] != key:
            with torch.inference_mode(False), torch.no_grad():  # training may need them next
                m = torch.arange(most.start - 1, most.stop + 1, dtype=torch.float64)
                self._kept = key, self.basis(m * self.spacing).to(like)
        return self._kept[1][numbers.start - most.start : numbers.stop + 2 - most.start]


def default_spacing(basis: GaussianBasis) -> float:
    """0.08 of a Gaussian's width, Å: 1e-5 to 3e-5 of the forces, 4e-5 of parameters' gradients."""
    return 0.08 / math.sqrt(2 * basis.gamma)


def _numbers(basis: nn.Module) -> tuple | None:
    """What a Gaussian basis is a function of, besides the distance; `None` for another basis."""
    if type(basis) is not GaussianBasis or not _is_as_written(basis):
        return None
    numbers = basis.num_basis, basis.cutoff, basis.gamma
    return numbers if all(isinstance(number, Real) for number in numbers) else None


def _is_as_written(part: nn.Module) -> bool:
    return not is_patched(part) and _WRITTEN[type(part)].has(type(part))


class PlacedFilters:
    """The filters f(r) W(r) of one batch: its edges, and where they lie on the knots.

    Args:
        knots: where the filter networks are evaluated.
        cutoff_fn: f, 0 at and beyond the cutoff.
        data: structures with `edge_index` and, if it is known, `edge_reverse`; `None` where
            `edges` is set.
        distance: r of each edge, Å.
        numbers: of the coefficients; `None` is those that the distances need.
    """

    def __init__(
        self,
        knots: Knots,
        cutoff_fn: nn.Module,
        data: Data | None,
        distance: Float[Tensor, "E"],
        numbers: range | None = None,
    ):
        self.knots, self.cutoff_fn = knots, cutoff_fn
        self.distance, self._data = distance, data
        self.numbers = numbers or knots.range(distance)
        first, count = self.numbers.start + 1, len(self.numbers)
        self.grid = bspline.Grid(first, count, float(knots.spacing), float(knots.cutoff))

    def elsewhere(self, distance: Float[Tensor, "E"], edges: ops.Edges) -> "PlacedFilters":
        """The same filters for other edges."""
        found = PlacedFilters(self.knots, self.cutoff_fn, None, distance, self.numbers)
        found.edges = edges
        return found

    @cached_property
    def places(self) -> tuple[Int[Tensor, "E"], Float[Tensor, "E"]]:
        """Row of the first of four coefficients, and the place within the interval, 0 … 1."""
        return bspline.places(self.distance, self.grid)

    @cached_property
    def edges(self) -> ops.Edges:
        """Sorted and symmetric, or an `InputError` says what is amiss."""
        data = self._data
        reverse, shift = data.get("edge_reverse"), data.get("edge_shift")
        if reverse is None:
            none = data.edge_index.new_zeros(data.edge_index.size(1), 3)
            reverse = reverse_edges(
                data.edge_index, none if shift is None else shift, data.z.numel()
            )
        return ops.Edges.of(data.edge_index, reverse, data.z.numel(), shift)

    @cached_property
    def weights(self) -> Float[Tensor, "E 4"]:
        """f(r) B_q(t), what the four coefficients count for in f W."""
        return self.cutoff_fn(self.distance).unsqueeze(-1) * bspline.weights(self.places[1])

    @cached_property
    def basis(self) -> Float[Tensor, "M+2 K"]:
        """Basis functions on the knots."""
        return self.knots.samples(self.numbers, self.distance)

    @cached_property
    def kernels(self) -> ModuleType:
        """The implementation of the operators that the next three are for."""
        return ops.kernels(self.distance)

    @cached_property
    def placed(self) -> tuple[Int[Tensor, "E"], Float[Tensor, "E 4"], Float[Tensor, "E 4"]]:
        """Rows, weights, and ∂/∂r of the weights, f′(r) B_q(t) + f(r) B_q′(t) / h, detached."""
        distance = self.distance.detach()
        f, df = with_slope(self.cutoff_fn, distance)
        interval = distance.new_empty(distance.numel(), dtype=torch.long)
        weights, slopes = distance.new_empty(2, distance.numel(), 4)
        self.kernels.place(distance, f, df, self.grid, interval, weights, slopes)
        return interval, weights, slopes

    @cached_property
    def arrays(self) -> tuple:
        """Arguments of `conv` that all layers share."""
        prepare = self.kernels.prepare
        interval, weights, _ = self.placed
        return prepare(interval), prepare(weights), ops.Edges(*map(prepare, self.edges))

    @cached_property
    def slope_arrays(self) -> tuple:
        """Those of `slope`."""
        interval, _, edges = self.arrays
        return interval, self.kernels.prepare(self.placed[2]), edges

    @cached_property
    def by_interval(self) -> object:
        """What `table` takes in place of the intervals."""
        return self.kernels.by_interval(self.arrays[0], len(self.numbers))

    def tangent_arrays(self, v: Float[Tensor, "E"]) -> tuple:
        """Those of `conv_tangent` for tangents v of the distances."""
        interval, weights, edges = self.arrays
        return (
            interval,
            weights,
            self.kernels.prepare(self.placed[2] * v[:, None]),
            edges,
        )

    def table(self, network: nn.Module) -> Float[Tensor, "M C"]:
        """Coefficients of network(e), through which gradients flow to the network."""
        return bspline.coefficients(network(self.basis))

    def on_edges(self, network: nn.Module) -> Float[Tensor, "E C"]:
        """W(r) of each edge, interpolated, without the cutoff function."""
        interval, t = self.places
        return bspline.values(self.table(network), interval, bspline.weights(t))


def with_slope(cutoff_fn: nn.Module, distance: Float[Tensor, "E"]) -> tuple[Tensor, Tensor]:
    """f(r) and f′(r), without a graph."""
    if type(cutoff_fn) is CosineCutoff:  # a subclass may be another function
        f, df = torch.empty_like(distance), torch.empty_like(distance)
        ops.kernels(distance).cosine(distance, float(cutoff_fn.cutoff), f, df)
        return f, df
    with torch.enable_grad():
        r = distance.detach().requires_grad_()
        f = cutoff_fn(r)
        (slope,) = torch.autograd.grad(f.sum(), r) if f.requires_grad else (torch.zeros_like(r),)
    return f.detach().to(distance.dtype), slope
