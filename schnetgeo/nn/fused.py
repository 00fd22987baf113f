"""SchNet with its derivatives written out: values, slopes, and the gradient of a loss on both.

The energy and its slope along each edge come from one pass and its reverse. The gradient of a
loss on both follows from the tangents of that pass: with v the gradient for the slopes, the part
of ∂L/∂θ that they cause is ∂/∂θ of the derivative of the energy along v. So the backward pass
carries tangents through the layers and reverses Σ ȳ y + Σ seed ẏ, which is exact and needs no tape
of second order. The adjoints of the tangents are those that gave the slopes: they are kept, not
computed again. Values and tangents lie below each other in one tensor, and so do their adjoints
(`_bar`), so that a weight's gradient is one matrix product.
"""

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from schnetgeo import ops
from schnetgeo.nn.first_order import first_order
from schnetgeo.nn.mlp import ShiftedSoftplus
from schnetgeo.nn.readout import sum_atoms
from schnetgeo.nn.spline import PlacedFilters

if TYPE_CHECKING:
    from schnetgeo.nn.captured import Graphs


class Plan(NamedTuple):
    """What a pass needs besides features and parameters."""

    filters: PlacedFilters
    filter_activations: tuple[nn.Module, ...]  # after the first layer, and after the last or not
    activation: nn.Module
    readout_activation: nn.Module
    seed: Float[Tensor, "N"]  # what the slopes count each atom's energy for
    with_slope: bool
    tables: tuple[Tensor, ...] | None = None  # of the filters, if they are known already
    graphs: "Graphs | None" = None  # of CUDA, that stand for the operators one by one

    @property
    def activations(self) -> tuple[nn.Module, ...]:
        """All of them."""
        return self.activation, self.readout_activation, *self.filter_activations


class LayerWeights(NamedTuple):
    """Weights (out, in) and biases of one interaction."""

    w1: Tensor
    b1: Tensor | None
    w2: Tensor
    b2: Tensor
    w3: Tensor
    b3: Tensor
    filter_w1: Tensor
    filter_b1: Tensor
    filter_w2: Tensor
    filter_b2: Tensor


class EnergyAndSlope(torch.autograd.Function):
    """Atomic energies y_i, and the slopes ∂(Σ_i seed_i y_i)/∂r_e along each directed edge.

    Called as `apply(plan, x, *parameters)` with the embedded atoms x (N, F), the `LayerWeights`
    of each layer, and weight and bias of the readout's two layers.
    """

    @staticmethod
    def forward(ctx, plan: Plan, x: Tensor, *parameters: Tensor | None):
        ctx.tape, y, slope = forth(plan, x, parameters)  # a tape with y would hold itself
        ctx.plan, ctx.parameters = plan, (x, *parameters)
        ctx.save_for_backward(*parameters)
        return y, slope

    @staticmethod
    @first_order
    def backward(ctx, y_bar: Tensor, v: Tensor):
        return None, *back(ctx.plan, ctx.tape, ctx.saved_tensors, y_bar, v)


def forth(
    plan: Plan, x: Float[Tensor, "N F"], parameters: tuple
) -> tuple["_Tape", Float[Tensor, "N"], Float[Tensor, "E"]]:
    """What `back` needs, energies y_i and slopes, see `EnergyAndSlope`."""
    tape, y = _forward(plan, x, parameters)
    slope = x.new_zeros(plan.filters.distance.numel())
    if plan.with_slope:
        _slopes(plan, tape, parameters, out=slope)
    return tape, y, slope


def back(
    plan: Plan, tape: "_Tape", parameters: tuple, y_bar: Float[Tensor, "N"], v: Float[Tensor, "E"]
) -> tuple[Tensor | None, ...]:
    """Gradients for x and each parameter from those for energies and slopes."""
    arrays, bends = plan.filters.arrays, []
    if plan.with_slope:
        arrays = plan.filters.tangent_arrays(v)
        bends = _tangents(plan, tape, arrays, parameters)
    return _reverse(plan, tape, y_bar, arrays, bends, parameters)


class Atoms(NamedTuple):
    """The atoms of a batch."""

    z: Int[Tensor, "N"]
    structure: Int[Tensor, "N"]
    number: int  # of structures
    ptr: Int[Tensor, "B+1"] | None  # first atom of each structure, if that is known


def energy_and_slope(
    plan: Plan, atoms: Atoms, embedding: Float[Tensor, "Z F"], *parameters: Tensor | None
) -> tuple[Float[Tensor, "B"], Float[Tensor, "E"]]:
    """Energies Σ seed_i y_i of structures and their slopes, see `EnergyAndSlope`.

    Where the CPU's threads can share the structures, all of it is compiled as a whole; on a GPU
    it is a CUDA graph, where batches are small enough and come often.

    Args:
        plan, parameters: as for `EnergyAndSlope`.
        atoms: whose rows of the embedding are the features.
        embedding: a row for each atomic number.
    """
    if plan.graphs is not None:
        graph = plan.graphs.find(plan, atoms.z, embedding, parameters)
        if graph is not None:
            y, slope = graph(atoms.z, plan, embedding, *parameters)
            return sum_atoms(plan.seed * y, atoms.structure, atoms.number), slope
    on_numba = plan.filters.kernels.__name__ == "schnetgeo.ops.cpu"
    if on_numba and plan.tables is None:
        from schnetgeo.nn import compiled  # which needs Numba

        batch = compiled.prepare(plan, atoms, embedding.size(0))
        if batch is not None:
            return compiled.CompiledEnergyAndSlope.apply(plan, *batch, embedding, *parameters)
    y, slope = EnergyAndSlope.apply(plan, F.embedding(atoms.z, embedding), *parameters)
    return sum_atoms(plan.seed * y, atoms.structure, atoms.number), slope


class _Pair(NamedTuple):
    """Values (N, F) and their tangents, in one tensor."""

    both: Float[Tensor, "2N F"]
    value: Float[Tensor, "N F"]
    tangent: Float[Tensor, "N F"]

    @classmethod
    def empty(cls, count: int, like: Tensor, with_tangent: bool) -> list["_Pair"]:
        """So many at once, each of the shape of `like`."""
        memory = like.new_empty(count, 1 + with_tangent, *like.shape)
        parts = memory.flatten(1, 2).unbind(), memory[:, 0].unbind(), memory[:, -1].unbind()
        return [cls(*part) for part in zip(*parts, strict=True)]


class _Filter(NamedTuple):
    """One filter network on the knots."""

    hidden: Float[Tensor, "M F"] | None  # act(h)
    hidden_first: Float[Tensor, "M F"] | None  # act'(h)
    last_first: Float[Tensor, "M F"] | None  # of the last activation
    table: Float[Tensor, "M F"]


class _Layer(NamedTuple):
    x: _Pair
    p: _Pair  # lin1(x)
    g: _Pair  # conv(p)
    q: _Pair  # act(h), where h = lin2(g)
    first: Float[Tensor, "N F"]  # act'(h)
    second: Float[Tensor, "N F"]  # act''(h), times the adjoint of q̇ from the slopes on
    p_bar: _Pair
    g_bar: _Pair
    h_bar: _Pair
    y_bar: _Pair  # of the layer's result, x + lin3(q)
    filter: _Filter


class _Readout(NamedTuple):
    x: _Pair
    q: _Pair
    first: Float[Tensor, "N R"]
    second: Float[Tensor, "N R"]
    h_bar: _Pair


class _Tape(NamedTuple):
    layers: list[_Layer]
    readout: _Readout


def _forward(plan: Plan, x: Tensor, parameters: tuple) -> tuple[_Tape, Float[Tensor, "N"]]:
    layers, (r1, s1, r2, s2) = _by_layer(parameters)
    filters, kept = plan.filters, []

    features, *_ = _Pair.empty(1, x, plan.with_slope)
    features.value.copy_(x)
    for index, weights in enumerate(layers):
        filter = _filter(plan, weights, index)
        p, g, q, *bars, result = _Pair.empty(8, x, plan.with_slope)
        torch.mm(features.value, weights.w1.t(), out=p.value)
        if weights.b1 is not None:
            p.value.add_(weights.b1)
        filters.kernels.conv(p.value, filter.table, *filters.arrays, out=g.value)
        h = torch.addmm(weights.b2, g.value, weights.w2.t())
        first, second = derivatives(plan.activation, h, out=q.value)
        kept.append(_Layer(features, p, g, q, first, second, *bars, filter))
        torch.addmm(features.value, q.value, weights.w3.t(), out=result.value).add_(weights.b3)
        features = result
    h = torch.addmm(s1, features.value, r1.t())
    q, h_bar = _Pair.empty(2, h, plan.with_slope)
    first, second = derivatives(plan.readout_activation, h, out=q.value)
    y = torch.addmv(s2, q.value, r2[0])
    return _Tape(kept, _Readout(features, q, first, second, h_bar)), y


def _filter(plan: Plan, weights: LayerWeights, index: int) -> _Filter:
    if plan.tables is not None:
        return _Filter(None, None, None, plan.tables[index])
    basis, (act, *last) = plan.filters.basis, plan.filter_activations
    h = torch.addmm(weights.filter_b1, basis, weights.filter_w1.t())
    hidden = torch.empty_like(h)
    first, _ = derivatives(act, h, out=hidden)
    values, last_first = torch.addmm(weights.filter_b2, hidden, weights.filter_w2.t()), None
    if last:
        last_first, _ = derivatives(last[0], values.clone(), out=values)
    table = values.new_empty(values.size(0) - 2, values.size(1))
    plan.filters.kernels.coefficients(values, table)
    return _Filter(hidden, first, last_first, table)


def _slopes(plan: Plan, tape: _Tape, parameters: tuple, out: Tensor) -> None:
    """Reverse Σ seed y, add its slope along each edge to `out`, keep the adjoints."""
    layers, (r1, _, r2, _) = _by_layer(parameters)
    filters, last = plan.filters, tape.readout
    q_bar = torch.outer(plan.seed, r2[0])
    torch.mul(last.first, q_bar, out=last.h_bar.tangent)
    last.second.mul_(q_bar)
    y_bar = last.h_bar.tangent @ r1
    for index in reversed(range(len(layers))):
        now, weights = tape.layers[index], layers[index]
        now.y_bar.tangent.copy_(y_bar)
        q_bar = y_bar @ weights.w3
        torch.mul(now.first, q_bar, out=now.h_bar.tangent)
        now.second.mul_(q_bar)
        g_bar = torch.mm(now.h_bar.tangent, weights.w2, out=now.g_bar.tangent)
        filters.kernels.slope(now.p.value, g_bar, now.filter.table, *filters.slope_arrays, out=out)
        if index:  # the embedding's own adjoint is not needed
            filters.kernels.conv(g_bar, now.filter.table, *filters.arrays, out=now.p_bar.tangent)
            y_bar = torch.addmm(y_bar, now.p_bar.tangent, weights.w1)


def _tangents(plan: Plan, tape: _Tape, arrays: tuple, parameters: tuple) -> list[Tensor]:
    """Carry the tangents that belong to the weights' through the layers.

    Returns what the curvature of each activation adds to the adjoint of its argument.
    """
    layers, (r1, _, _, _) = _by_layer(parameters)
    filters, bends = plan.filters, []
    results = [layer.x for layer in tape.layers[1:]] + [tape.readout.x]
    for index, (now, weights) in enumerate(zip(tape.layers, layers, strict=True)):
        if index:
            torch.mm(now.x.tangent, weights.w1.t(), out=now.p.tangent)
        else:  # the embedding does not move
            now.x.tangent.zero_()
            now.p.tangent.zero_()
        filters.kernels.conv_tangent(
            now.p.value, now.p.tangent, now.filter.table, *arrays,
            out=now.g.tangent,
        )  # fmt: skip
        dh = now.g.tangent @ weights.w2.t()
        torch.mul(now.first, dh, out=now.q.tangent)
        bends.append(dh.mul_(now.second))
        torch.addmm(now.x.tangent, now.q.tangent, weights.w3.t(), out=results[index].tangent)
    last = tape.readout
    dh = last.x.tangent @ r1.t()
    torch.mul(last.first, dh, out=last.q.tangent)
    return [*bends, dh.mul_(last.second)]


def _reverse(
    plan: Plan, tape: _Tape, y_bar: Tensor, arrays: tuple, bends: list[Tensor],
    parameters: tuple,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Gradients of Σ ȳ y + Σ seed ẏ, for x and each parameter."""
    layers, (r1, _, r2, _) = _by_layer(parameters)
    last, ops, by_interval = tape.readout, plan.filters.kernels, plan.filters.by_interval
    r2_bar = y_bar @ last.q.value
    h_bar = torch.mul(last.first, torch.outer(y_bar, r2[0]), out=last.h_bar.value)
    if plan.with_slope:
        r2_bar += plan.seed @ last.q.tangent
        h_bar += bends[-1]
    gradients = [
        last.h_bar.both.t() @ last.x.both, h_bar.sum(0), r2_bar.unsqueeze(0), y_bar.sum(0, True)
    ]  # fmt: skip
    x_bar = h_bar @ r1
    for index in reversed(range(len(layers))):
        now, weights, table = tape.layers[index], layers[index], tape.layers[index].filter.table
        now.y_bar.value.copy_(x_bar)
        h_bar = torch.mul(now.first, x_bar @ weights.w3, out=now.h_bar.value)
        if plan.with_slope:
            h_bar += bends[index]
        g_bar, table_bar = torch.mm(h_bar, weights.w2, out=now.g_bar.value), torch.empty_like(table)
        if plan.with_slope:
            ops.conv_tangent(now.g_bar.tangent, g_bar, table, *arrays, out=now.p_bar.value)
            pairs = now.p.value, g_bar, now.p.tangent, now.g_bar.tangent
            ops.table_tangent(*pairs, by_interval, *arrays[1:], out=table_bar)
        else:
            ops.conv(g_bar, table, *arrays, out=now.p_bar.value)
            ops.table(now.p.value, g_bar, by_interval, *arrays[1:], out=table_bar)
        p_bar = now.p_bar.value
        moving = index and plan.with_slope  # the embedding has no tangent
        gradients = [
            now.p_bar.both.t() @ now.x.both if moving else p_bar.t() @ now.x.value,
            None if weights.b1 is None else p_bar.sum(0),
            now.h_bar.both.t() @ now.g.both, h_bar.sum(0),
            now.y_bar.both.t() @ now.q.both, x_bar.sum(0),
            *_filter_reverse(plan, now.filter, weights, table_bar),
            *gradients,
        ]  # fmt: skip
        x_bar = torch.addmm(x_bar, p_bar, weights.w1)
    return x_bar, *gradients


def _filter_reverse(
    plan: Plan, filter: _Filter, weights: LayerWeights, table_bar: Tensor
) -> tuple[Tensor, ...]:
    bar = table_bar.new_empty(table_bar.size(0) + 2, table_bar.size(1))
    plan.filters.kernels.coefficients_adjoint(table_bar, bar)
    if filter.last_first is not None:
        bar *= filter.last_first
    h_bar = (bar @ weights.filter_w2).mul_(filter.hidden_first)
    basis = plan.filters.basis
    return h_bar.t() @ basis, h_bar.sum(0), bar.t() @ filter.hidden, bar.sum(0)


def _by_layer(parameters: tuple) -> tuple[list[LayerWeights], tuple]:
    size = len(LayerWeights._fields)
    starts = range(0, len(parameters) - 4, size)
    return [LayerWeights(*parameters[i : i + size]) for i in starts], parameters[-4:]


def derivatives(activation: nn.Module, h: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """Write act(h) to `out` and return act'(h) and act''(h), for any elementwise activation."""
    if type(activation) is ShiftedSoftplus:  # a subclass may be another function
        first, second = torch.empty_like(h), torch.empty_like(h)
        ops.kernels(h).softplus(h, out, first, second)
        return first, second
    with torch.enable_grad():
        h = h.detach().requires_grad_()
        value = activation(h)
        (first,) = torch.autograd.grad(value.sum(), h, create_graph=True)
        second = torch.zeros_like(h)
        if first.requires_grad:
            (second,) = torch.autograd.grad(first.sum(), h, materialize_grads=True)
    out.copy_(value.detach())
    return first.detach(), second
