"""Checks of a message-passing layer."""

import copy
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from schnetgeo.errors import InputError
from schnetgeo.nn import EdgeFeatures, RadialConv, SchNet
from schnetgeo.potential import Potential
from schnetgeo.testing.checks import (
    ADVICE_FAST,
    ADVICE_SAME,
    ADVICE_STEADY,
    ADVICE_SUM,
    SLOPE,
    SMALL,
    CheckFailed,
    Checks,
    Report,
    assert_close,
    check,
    expect_tensor,
    max_abs,
    normal,
    seeded,
)
from schnetgeo.testing.edges import EdgeChecks

_NO_MODEL = "a SchNet has two basis functions or more"


def check_conv(
    conv_class: type[RadialConv], channels: int = 16, num_basis: int = 8, seed: int = 0
) -> Report:
    """Check a message-passing layer on random graphs, with repeated edges as in small crystals.

    Args:
        conv_class: subclass of `RadialConv`, built as conv_class(channels, num_basis).
        channels: F, features per atom.
        num_basis: K, radial basis functions per edge.
        seed: of weights and graphs.

    Raises:
        CheckFailed: at the first statement that is violated.
        InputError: for anything but a subclass of `RadialConv`.
    """
    if not (isinstance(conv_class, type) and issubclass(conv_class, RadialConv)):
        raise InputError(
            f"check_conv takes a subclass of schnetgeo.nn.RadialConv, got {conv_class!r}; derive "
            "your layer from it and pass the class"
        )
    with seeded(seed):
        layer = conv_class(channels, num_basis)
        return _ConvChecks(layer, channels, num_basis, seed).run(conv_class.__name__)


class _Graph(NamedTuple):
    x: Tensor
    edge_index: Tensor
    edge_weight: Tensor
    edge_attr: Tensor
    edge_unit: Tensor

    def edges(self, which: Tensor) -> "_Graph":
        """The same atoms with these edges, in this order."""
        _, edge_index, *others = self
        return _Graph(self.x, edge_index[:, which], *(other[which] for other in others))

    def run(self, layer: RadialConv) -> Tensor:
        """The layer's output."""
        x, *edges = self
        return layer(x, EdgeFeatures(*edges))


class _ConvChecks(Checks):
    def __init__(self, layer: RadialConv, channels: int, num_basis: int, seed: int):
        super().__init__(layer)
        pairs = torch.randint(7, (2, 30))  # of 8 atoms: one stays alone
        pairs = torch.cat([pairs, pairs.flip(0)], dim=1)
        weight = torch.rand(30, dtype=torch.float64).repeat(2)
        attr = normal(30, num_basis).sigmoid().repeat(2, 1)
        unit = normal(30, 3) / 2
        unit = torch.cat([unit, -unit])
        graph = _Graph(normal(8, channels), pairs, weight, attr, unit)
        self.graph = graph.edges(pairs[1].argsort(stable=True))
        self.no_edges = graph.edges(torch.arange(0))
        self.seed = seed

    @cached_property
    def in_a_model(self) -> EdgeChecks | None:
        """The layer as the only one of a SchNet, on molecules and a crystal."""
        channels, num_basis = self.module.channels, self.module.num_basis
        if num_basis < 2:
            return None
        model = SchNet(channels, num_layers=1, num_basis=num_basis)
        model.interactions[0].conv = self.module
        return EdgeChecks(Potential(model.double()), None, self.seed)

    def assert_close(
        self, graph: _Graph, expected: Tensor, change: str, floor: float = 0.0
    ) -> None:
        assert_close(graph.run(self.module), expected, f"{change} changed the output", floor=floor)

    @check("Create tensors with x.new_zeros and the like, and return a row per atom")
    def output(self) -> None:
        for dtype in (torch.float32, torch.float64):
            layer = copy.deepcopy(self.module).to(dtype)
            for graph in (self.graph, self.no_edges):
                cast = _Graph(*(t.to(dtype) if t.is_floating_point() else t for t in graph))
                y = cast.run(layer)
                what = f"the output for {graph.edge_weight.numel()} edges"
                expect_tensor(what, y, tuple(graph.x.shape), dtype)

    @check("Compute new tensors instead of using +=, mul_ and the like")
    def untouched_inputs(self) -> None:
        copied = _Graph(*(t.clone() for t in self.graph))
        with torch.no_grad():
            copied.run(self.module)
        for name, after, before in zip(_Graph._fields, copied, self.graph, strict=True):
            assert_close(after, before, f"{name} was modified in place,", tolerance=0.0)

    @check(ADVICE_SAME)
    def repetition(self) -> None:
        self.assert_close(self.graph, self.graph.run(self.module), "computing the same graph again")

    @check(ADVICE_STEADY)
    def training_mode(self) -> None:
        trained = self.graph.run(copy.deepcopy(self.module).train())
        assert_close(trained, self.graph.run(self.module), "training mode changed the output")

    @check("Let `message` use x_i, x_j and edge_attr alone, and RadialConv do the sum")
    def order_of_edges(self) -> None:
        other = self.graph.edges(torch.randperm(self.graph.edge_weight.numel()))
        self.assert_close(
            other, self.graph.run(self.module), "listing the same edges in another order"
        )

    @check("Do not use the index of an atom")
    def renumbering(self) -> None:
        graph, order = self.graph, torch.randperm(self.graph.x.size(0))
        other = graph._replace(x=graph.x[order], edge_index=order.argsort()[graph.edge_index])
        self.assert_close(other, graph.run(self.module)[order], "renumbering the atoms")

    @check(ADVICE_SUM)
    def zero_cutoff_function(self) -> None:
        graph, (source, target) = self.graph, self.graph.edge_index
        remaining = ((source + target) % 3 != 0) & (source != 0) & (target != 0)  # atom 0 loses all
        zero = graph._replace(edge_weight=graph.edge_weight * remaining)
        self.assert_close(
            zero, graph.edges(remaining).run(self.module), "adding edges of weight zero"
        )

    @check(ADVICE_SUM)
    def small_cutoff_function(self) -> None:
        alone = self.no_edges.run(self.module)
        floor = 100 * SMALL * max_abs(self.graph.run(self.module) - alone)
        faint = self.graph._replace(edge_weight=self.graph.edge_weight * SMALL)
        self.assert_close(faint, alone, f"adding edges of a weight below {SMALL:.0e}", floor)

    @check("Do not mix all atoms, as batch normalization does")
    def batch_and_singles(self) -> None:
        first, second = self.graph, self.graph.edges(torch.arange(0, 60, 3))
        second = second._replace(x=3 * second.x.flip(0))
        singles = torch.cat([first.run(self.module), second.run(self.module)])
        second = second._replace(edge_index=second.edge_index + first.x.size(0))
        pairs = enumerate(zip(first, second, strict=True))
        both = _Graph(*(torch.cat(pair, dim=int(k == 1)) for k, pair in pairs))
        self.assert_close(both, singles, "putting two graphs into one batch")

    @check("Remove detach, .data and no_grad; an autograd function needs two derivatives")
    def derivatives(self) -> None:
        x, edge_index, *others = self.graph
        inputs = [t.clone().requires_grad_() for t in (x, *others)]

        def function(x: Tensor, *others: Tensor) -> Tensor:
            return self.module(x, EdgeFeatures(edge_index, *others))

        for order, differentiate in (("first", gradcheck), ("second", gradgradcheck)):
            try:
                differentiate(
                    function, inputs, fast_mode=True, rtol=SLOPE, atol=1e-8, nondet_tol=1e-9
                )
            except (RuntimeError, ValueError) as error:
                what = f"{order} derivatives by x, edge_weight, edge_attr, edge_unit (0 … 3)"
                reason = " ".join(str(error).split("\n\n")[0].split()).rstrip(".")
                raise CheckFailed(f"{what} are wrong: {reason}") from error

    @check("Let `message` use x_i, x_j, edge_attr and W alone, and RadialConv do the sum")
    def order_of_edges_in_a_model(self) -> str | None:
        return self.in_a_model.order_of_edges() if self.in_a_model else _NO_MODEL

    @check(ADVICE_FAST)
    def fast_path(self) -> str | None:
        return self.in_a_model.fast_path() if self.in_a_model else _NO_MODEL
