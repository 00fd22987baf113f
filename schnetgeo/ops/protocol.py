"""What a backend of the spline operators computes.

With e: j → i the edges, k_e the interval of an edge, w its four weights and c the table, each
function writes or, where stated, adds to `out`. Arguments are tensors, or what `as_array` gave for
them: that is done once for tensors that many calls share.
"""

from typing import Protocol

from jaxtyping import Float, Int
from torch import Tensor

from schnetgeo.ops.bspline import Grid
from schnetgeo.ops.edges import Edges


class Backend(Protocol):
    """One implementation: a module with these functions."""

    def as_array(self, tensor: Tensor) -> Tensor:
        """A tensor in the form that the other functions convert it to, for many calls."""
        ...

    def is_sorted(self, numbers: Int[Tensor, "E"]) -> bool:
        """Whether none is smaller than the one before."""
        ...

    def row_pointers(
        self,
        source: Int[Tensor, "E"],
        target: Int[Tensor, "E"],
        reverse: Int[Tensor, "E"],
        shift: Int[Tensor, "E 3"] | None,
        num: int,
    ) -> Int[Tensor, "N+1"]:
        """First edge of each atom.

        Raises:
            InputError: on the CPU, for edges that are not sorted, or not symmetric. A GPU stops
                at edges that are not sorted.
        """
        ...

    def edge_lengths(
        self,
        pos: Float[Tensor, "N 3"],
        source: Int[Tensor, "E"],
        target: Int[Tensor, "E"],
        offset: Float[Tensor, "E 3"] | None,
        vectors: Float[Tensor, "E 3"],
        distance: Float[Tensor, "E"],
    ) -> None:
        """Write pos_j − pos_i + offset and its length, both rounded from the type of `pos`."""
        ...

    def add_forces(
        self,
        slope: Float[Tensor, "E"],
        vectors: Float[Tensor, "E 3"],
        distance: Float[Tensor, "E"],
        source: Int[Tensor, "E"],
        target: Int[Tensor, "E"],
        out: Float[Tensor, "N 3"],
    ) -> None:
        """out_i += slope_e r_e / |r_e|,  out_j −= slope_e r_e / |r_e|."""
        ...

    def add_forces_vjp(
        self,
        y: Float[Tensor, "N 3"],
        vectors: Float[Tensor, "E 3"],
        distance: Float[Tensor, "E"],
        source: Int[Tensor, "E"],
        target: Int[Tensor, "E"],
        out: Float[Tensor, "E"],
    ) -> None:
        """out_e = ⟨y_i − y_j, r_e⟩ / |r_e|, the adjoint of `add_forces`."""
        ...

    def cosine_cutoff(
        self,
        distance: Float[Tensor, "E"],
        cutoff: float,
        f: Float[Tensor, "E"],
        df: Float[Tensor, "E"],
    ) -> None:
        """The cutoff function f = ½ (cos(π r / r_c) + 1) and f′, 0 at and beyond r_c."""
        ...

    def knot_weights(
        self,
        distance: Float[Tensor, "E"],
        f: Float[Tensor, "E"],
        df: Float[Tensor, "E"],
        grid: Grid,
        interval: Int[Tensor, "E"],
        weights: Float[Tensor, "E 4"],
        slopes: Float[Tensor, "E 4"],
    ) -> None:
        """Intervals of edges, weights = f B(t), and slopes = df B(t) + f B′(t) / h."""
        ...

    def spline_conv(
        self,
        x: Float[Tensor, "N F"],
        table: Float[Tensor, "M F"],
        interval: Int[Tensor, "E"],
        weights: Float[Tensor, "E 4"],
        edges: Edges,
        out: Float[Tensor, "N F"],
    ) -> None:
        """out_i = Σ_{e: j→i} x_j ⊙ Σ_q w_eq c_{k+q}."""
        ...

    def spline_conv_tangent(
        self,
        x: Float[Tensor, "N F"],
        dx: Float[Tensor, "N F"],
        table: Float[Tensor, "M F"],
        interval: Int[Tensor, "E"],
        weights: Float[Tensor, "E 4"],
        dweights: Float[Tensor, "E 4"],
        edges: Edges,
        out: Float[Tensor, "N F"],
    ) -> None:
        """The change of `spline_conv` when x changes by dx and the weights by dweights."""
        ...

    def edge_gradient(
        self,
        x: Float[Tensor, "N F"],
        y: Float[Tensor, "N F"],
        table: Float[Tensor, "M F"],
        interval: Int[Tensor, "E"],
        slopes: Float[Tensor, "E 4"],
        edges: Edges,
        out: Float[Tensor, "E"],
    ) -> None:
        """out_e += ⟨x_j ⊙ y_i, Σ_q slopes_eq c_{k+q}⟩."""
        ...

    def spline_conv_grad_weights(
        self,
        x: Float[Tensor, "N F"],
        y: Float[Tensor, "N F"],
        table: Float[Tensor, "M F"],
        interval: Int[Tensor, "E"],
        edges: Edges,
        out: Float[Tensor, "E 4"],
    ) -> None:
        """out_eq = ⟨x_j ⊙ y_i, c_{k+q}⟩."""
        ...

    def sort_by_interval(self, interval: Int[Tensor, "E"], num_knots: int) -> object:
        """The `sorted_edges` of the next two functions, in whatever form they take them."""
        ...

    def spline_conv_grad_table(
        self,
        x: Float[Tensor, "N F"],
        y: Float[Tensor, "N F"],
        sorted_edges: object,
        weights: Float[Tensor, "E 4"],
        edges: Edges,
        out: Float[Tensor, "M F"],
    ) -> None:
        """out_m = Σ_{e, q: k+q = m} w_eq x_j ⊙ y_i."""
        ...

    def spline_conv_grad_table_tangent(
        self,
        x: Float[Tensor, "N F"],
        y: Float[Tensor, "N F"],
        dx: Float[Tensor, "N F"],
        dy: Float[Tensor, "N F"],
        sorted_edges: object,
        weights: Float[Tensor, "E 4"],
        dweights: Float[Tensor, "E 4"],
        edges: Edges,
        out: Float[Tensor, "M F"],
    ) -> None:
        """out_m = Σ w_eq (x_j ⊙ y_i + dx_j ⊙ dy_i) + dw_eq x_j ⊙ dy_i."""
        ...

    def copy_padded(
        self, batch: tuple[Tensor, ...], arrays: tuple[Tensor, ...], cutoff: float
    ) -> None:
        """Write z, atom weights, row pointers, distance, source and target into longer arrays.

        Atoms too many have weight 0 and no neighbors; edges too many lead from the last atom to
        itself, with lengths from 0 to the cutoff, so that no interval gets all of them.
        """
        ...

    def shifted_softplus(self, h: Tensor, value: Tensor, first: Tensor, second: Tensor) -> None:
        """ln(½ eʰ + ½) and its derivatives, σ and σ (1 − σ)."""
        ...

    def spline_coefficients(
        self, samples: Float[Tensor, "M+2 F"], out: Float[Tensor, "M F"]
    ) -> None:
        """c_m = (−W_{m−1} + 8 W_m − W_{m+1}) / 6, see `bspline.coefficients`."""
        ...

    def spline_coefficients_transpose(
        self, bar: Float[Tensor, "M F"], out: Float[Tensor, "M+2 F"]
    ) -> None:
        """The gradient for the samples from that for the coefficients."""
        ...
