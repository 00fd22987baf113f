"""Message passing on radius graphs: RadialConv to build on, CFConv as SchNet's choice."""

import functools
import inspect
from collections.abc import Callable

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from schnetgeo.errors import InputError
from schnetgeo.nn.known import Written, adds_nothing, is_patched, is_smooth_network
from schnetgeo.nn.mlp import ShiftedSoftplus, dense
from schnetgeo.nn.spline import PlacedFilters

_HOOKS = [
    f"_{method}_forward{kind}_hooks"
    for method in ("propagate", "message", "aggregate")
    for kind in ("_pre", "")
]


class RadialConv(MessagePassing):
    """Base of message-passing layers: y_i = Σ_{j→i} f(r_ij) · message(x_j, x_i, W(r_ij), e(r_ij)).

    A subclass writes `__init__(channels, num_basis)` and `message`; the envelope f and the sum
    over neighbors are done here, so that a layer cannot forget them. `message` may take `x_i`,
    `x_j`, both (E, F), `edge_attr` (E, K), and, if the layer has a module `filter`, `W`, what
    that module makes of `edge_attr`; it returns (E, F). With filters="spline" `W` is interpolated,
    and `filter` runs on a few hundred knots instead of on every edge, if it consists of
    `nn.Linear`, `nn.Sequential` and smooth activations of torch; any other runs on every edge.

        class Gate(RadialConv):
            def __init__(self, channels, num_basis):
                super().__init__(channels, num_basis)
                self.filter = nn.Linear(num_basis, channels)

            def message(self, x_j, W):
                return x_j * W

    `schnetgeo.testing.check_conv(Gate)` tells whether the layer is physical.

    Args:
        channels: F, features per atom, in and out.
        num_basis: K, radial basis functions per edge.
    """

    def __init__(self, channels: int, num_basis: int):
        super().__init__(aggr="add")
        self.channels = channels
        self.num_basis = num_basis

    def forward(
        self,
        x: Float[Tensor, "N F"],
        edge_index: Int[Tensor, "2 E"],
        edge_weight: Float[Tensor, "E"],
        edge_attr: Float[Tensor, "E K"] | None,
        filters: PlacedFilters | None = None,
    ) -> Float[Tensor, "N F"]:
        """Sum the messages at each target atom.

        Args:
            x: features.
            edge_index: row 0 the source j, row 1 the target i.
            edge_weight: envelope f(r).
            edge_attr: basis functions e(r).
            filters: interpolates `filter` instead of running it on every edge.
        """
        W = None
        if hasattr(self, "filter"):
            on_knots = filters is not None and self.interpolates
            W = filters.on_edges(self.filter) if on_knots else self.filter(edge_attr)
        return self.propagate(edge_index, x=x, edge_weight=edge_weight, edge_attr=edge_attr, W=W)

    def aggregate(
        self, inputs: Tensor, index: Tensor, edge_weight: Tensor, dim_size: int
    ) -> Tensor:
        if inputs.shape != (index.numel(), self.channels):
            raise InputError(
                f"{type(self).__name__}.message must return shape (E, F) = ({index.numel()}, "
                f"{self.channels}), got {tuple(inputs.shape)}; give the filter as many channels"
            )
        weighted = inputs * edge_weight.unsqueeze(-1)
        return weighted.new_zeros(dim_size, self.channels).index_add(0, index, weighted)

    @property
    def interpolates(self) -> bool:
        """Whether `filter` may run on knots: a smooth function of the distance alone."""
        return is_smooth_network(self.filter)

    @property
    def takes_basis(self) -> bool:
        """Whether the layer looks at the basis functions on every edge."""
        if type(self).forward not in _FORWARDS or not self._propagates_as_built:
            return True
        functions = self.message, self.aggregate, self.update
        named = any(_takes_basis(getattr(f, "__func__", f)) for f in functions)
        return named or not (hasattr(self, "filter") and self.interpolates)

    @property
    def fused(self) -> bool:
        """Whether a fused operator may stand in for `propagate`: it is CFConv's, unobserved."""
        return False

    @property
    def _propagates_as_built(self) -> bool:
        """Whether PyG wrote `propagate`, which it puts on the instance after explaining."""
        function = getattr(self.propagate, "__func__", None)
        generated = function is type(self)._jinja_propagate
        return generated and function.__module__.endswith("_propagate")


class CFConv(RadialConv):
    """Continuous-filter convolution: y_i = Σ_{j→i} x_j ⊙ f(r_ij) W(r_ij), W = filter network(e).

    Args:
        channels: F, features per atom.
        num_basis: K, radial basis functions per edge.
        activation: class of the filter network's activation.
        last_activation: activate the second layer too, as the papers do.

    Source: Schütt et al., NeurIPS 2017, arXiv:1706.08566.
    """

    def __init__(
        self,
        channels: int,
        num_basis: int,
        activation: type[nn.Module] = ShiftedSoftplus,
        last_activation: bool = False,
    ):
        super().__init__(channels, num_basis)
        layers = [dense(num_basis, channels), activation(), dense(channels, channels)]
        if last_activation:
            layers.append(activation())
        self.filter = nn.Sequential(*layers)

    @property
    def activations(self) -> tuple[nn.Module, ...]:
        """After the first layer, and after the second or not."""
        return self.filter[1], *self.filter[3:]

    def forward(self, x, edge_index, edge_weight, edge_attr, filters=None):
        if filters is not None and filters.fused:
            return filters.conv(x, self.filter)
        return super().forward(x, edge_index, edge_weight, edge_attr, filters)

    @property
    def fused(self) -> bool:
        return not is_patched(self) and self.interpolates and self.is_unobserved

    @property
    def is_unobserved(self) -> bool:
        """Whether messages are what CFConv says, in PyG's usual way, and nobody sees them."""
        if self._explain or self.flow != "source_to_target" or not self._propagates_as_built:
            return False
        if not (_CFCONV.has(type(self)) and _RADIAL_CONV.has(RadialConv)):
            return False
        if not adds_nothing(type(self), CFConv):
            return False
        return not any(map(vars(self).get, _HOOKS))

    def message(self, x_j: Tensor, W: Tensor) -> Tensor:
        return x_j * W


_CFCONV, _RADIAL_CONV = Written(CFConv), Written(RadialConv)
_FORWARDS = RadialConv.forward, CFConv.forward


@functools.lru_cache(256)
def _takes_basis(function: Callable) -> bool:
    return "edge_attr" in inspect.signature(function).parameters
