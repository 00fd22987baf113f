"""Convolutions over the edges of one batch, with splines for filters and unit vectors in weights.

conv, dot and table are linear in the weights w_eq, so that a component u_c of the unit vector goes
into them. An edge's reverse has the same length and the opposite unit vector, so the transpose of
a convolution is a convolution over the same edges, with −u.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from schnetgeo import ops
from schnetgeo.engine.edges import KnotWeights
from schnetgeo.engine.program import Direction


class Term(NamedTuple):
    """One of the sums of a convolution: component `x` of its argument goes to `out` of its result.

    `axis` is the component of the unit vector that counts, or `None`.
    """

    x: int
    out: int
    axis: int | None


def terms(direction: Direction, components: int) -> tuple[Term, ...]:
    """The sums of a convolution of an argument with so many components."""
    if direction is Direction.NONE:
        return tuple(Term(c, c, None) for c in range(components))
    if direction is Direction.GRADIENT:
        return tuple(Term(0, c, c) for c in range(3))
    return tuple(Term(c, 0, c) for c in range(3))


class EdgeConvolution:
    """The kernels for one batch, and the gradients that they sum up.

    Args:
        edges: the batch's edges and the weights of their knots.
        tables: coefficients (M, F) of each filter, `None` for one that nothing uses.
        directed: whether gradients for the unit vectors are wanted.
    """

    def __init__(self, edges: KnotWeights, tables: list[Tensor | None], directed: bool):
        self._kernels = ops.get_backend(edges.weights)
        prepare = self._kernels.as_array
        self._knots, self._by_interval = edges, None
        self._interval, self._edges = prepare(edges.interval), ops.Edges(*map(prepare, edges.edges))
        self._weights = {None: prepare(edges.weights)}  # by component of the unit vector
        self._tangents: dict = {}
        self.tables = tables
        self.trains: list[bool] = [False] * len(tables)  # whether something trained is in a filter
        self.table_gradients: list[Tensor | None] = [None] * len(tables)
        self.radial = edges.weights.new_zeros(edges.interval.numel())
        self.angular = edges.weights.new_zeros(edges.interval.numel(), 3) if directed else None

    def conv(self, x: Tensor, filter: int, axis: int | None, out: Float[Tensor, "N F"]) -> None:
        """out_i = Σ_j w_e x_j."""
        placed = self._interval, self._weight(axis), self._edges
        self._kernels.spline_conv(x, self.tables[filter], *placed, out)

    def conv_moved(self, x: Tensor, filter: int, axis: int | None, out: Tensor) -> None:
        """out_i = Σ_j ẇ_e x_j."""
        placed = self._interval, self._tangents[axis], self._edges
        self._kernels.spline_conv(x, self.tables[filter], *placed, out)

    def conv_tangent(
        self, x: Tensor, dx: Tensor, filter: int, axis: int | None, out: Tensor
    ) -> None:
        """out_i = Σ_j w_e ẋ_j + ẇ_e x_j."""
        placed = self._interval, self._weight(axis), self._tangents[axis], self._edges
        self._kernels.spline_conv_tangent(x, dx, self.tables[filter], *placed, out)

    def add_edge_gradient(self, x: Tensor, y: Tensor, filter: int, axis: int | None) -> None:
        """Add ∂/∂r_e and ∂/∂u_e of Σ_i ⟨y_i, Σ_j w_e x_j⟩."""
        arguments, derivatives = (x, y, self.tables[filter]), self._knots.derivatives
        if axis is None:
            placed = self._interval, self._kernels.as_array(derivatives), self._edges
            self._kernels.edge_gradient(*arguments, *placed, self.radial)
            return
        dot = torch.empty_like(derivatives)
        self._kernels.spline_conv_grad_weights(*arguments, self._interval, self._edges, dot)
        self.radial.addcmul_(self._knots.unit[:, axis], (dot * derivatives).sum(1))
        self.angular[:, axis] += (dot * self._knots.weights).sum(1)

    def set_tangents(
        self, radial: Float[Tensor, "E"], angular: Float[Tensor, "E 3"] | None
    ) -> None:
        """Let edges change by ṙ and u̇, which for an edge's reverse are the same and −u̇."""
        scalar = self._knots.derivatives * radial.unsqueeze(1)
        self._tangents = {None: self._kernels.as_array(scalar)}
        for axis in range(3 if angular is not None else 0):
            tangent = scalar * self._knots.unit[:, axis : axis + 1]
            tangent.addcmul_(self._knots.weights, angular[:, axis : axis + 1])
            self._tangents[axis] = self._kernels.as_array(tangent)

    def add_table_gradient(self, x: Tensor, y: Tensor, filter: int, axis: int | None) -> None:
        """Add ∂/∂c of Σ_i ⟨y_i, Σ_j w_e x_j⟩."""
        out = torch.empty_like(self.tables[filter])
        placed = self._sorted(), self._weight(axis), self._edges
        self._kernels.spline_conv_grad_table(x, y, *placed, out)
        self._add_to_table(filter, out)

    def add_table_gradient_tangent(
        self, x: Tensor, y: Tensor, dx: Tensor, dy: Tensor, filter: int, axis: int | None
    ) -> None:
        """Add ∂/∂c of Σ_i ⟨y_i, Σ_j w_e x_j⟩ + ⟨dy_i, Σ_j w_e dx_j + ẇ_e x_j⟩."""
        out = torch.empty_like(self.tables[filter])
        placed = self._sorted(), self._weight(axis), self._tangents[axis], self._edges
        self._kernels.spline_conv_grad_table_tangent(x, y, dx, dy, *placed, out)
        self._add_to_table(filter, out)

    def _add_to_table(self, filter: int, term: Tensor) -> None:
        total = self.table_gradients[filter]
        self.table_gradients[filter] = term if total is None else total.add_(term)

    def _weight(self, axis: int | None):
        if axis not in self._weights:
            weights = self._knots.weights * self._knots.unit[:, axis : axis + 1]
            self._weights[axis] = self._kernels.as_array(weights)
        return self._weights[axis]

    def _sorted(self):
        if self._by_interval is None:
            count = len(self._knots.coefficients)
            self._by_interval = self._kernels.sort_by_interval(self._interval, count)
        return self._by_interval
