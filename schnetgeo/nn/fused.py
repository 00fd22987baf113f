"""SchNet with its derivatives written out: values, slopes, and the gradient of a loss on both.

The energy and its slope along each edge come from one pass and its reverse. The gradient of a
loss on both follows from the tangents of that pass: with v the gradient for the slopes, the part
of ∂L/∂θ that they cause is ∂/∂θ of the derivative of the energy along v. So the backward pass
carries tangents (d…) through the layers and reverses Σ ȳ y + Σ seed dy, which is exact and needs
no tape of second order. The adjoints of the tangents are those that gave the slopes: they are
kept, not computed again. Values and tangents, and their adjoints (…_bar), lie in rows 0 and 1 of
one tensor, so that a weight's gradient is one matrix product.
"""

import math
from functools import singledispatch
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from schnetgeo.nn.mlp import ShiftedSoftplus
from schnetgeo.nn.spline import PlacedFilters
from schnetgeo.ops import kernels


class Plan(NamedTuple):
    """What a pass needs besides features and parameters."""

    filters: PlacedFilters
    seed: Float[Tensor, "N"]  # what the slopes count each atom's energy for
    activation: nn.Module
    readout_activation: nn.Module
    with_slope: bool


class EnergyAndSlope(torch.autograd.Function):
    """Atomic energies y_i, and the slopes ∂(Σ_i seed_i y_i)/∂r_e along each directed edge.

    Called as `apply(plan, x, tables, *parameters)` with the embedded atoms x (N, F), the tables
    (L, M, F) of the filters, and weight and bias of lin1, lin2, lin3 of each layer and of the
    readout's two layers, `None` for a bias that is absent.
    """

    @staticmethod
    def forward(ctx, plan: Plan, x: Tensor, tables: Tensor, *parameters: Tensor | None):
        tape = _forward(plan, x, tables, parameters)
        slope = x.new_zeros(plan.filters.edges.source.numel())
        if plan.with_slope:
            _slopes(plan, tape, tables, parameters, out=slope)
        ctx.plan, ctx.tape = plan, tape
        ctx.save_for_backward(tables, *parameters)
        return tape.y, slope

    @staticmethod
    @once_differentiable
    def backward(ctx, y_bar: Tensor, v: Tensor):
        tables, *parameters = ctx.saved_tensors
        dweights, bends = None, []
        if ctx.plan.with_slope:
            dweights = ctx.plan.filters.slopes * v.unsqueeze(1)
            bends = _tangents(ctx.plan, ctx.tape, dweights, tables, parameters)
        return None, *_reverse(ctx.plan, ctx.tape, y_bar, dweights, bends, tables, parameters)


class _Layer(NamedTuple):
    """One layer's values and adjoints; a leading 2 is for values and tangents."""

    x: Float[Tensor, "2 N F"]
    p: Float[Tensor, "2 N F"]  # lin1(x)
    g: Float[Tensor, "2 N F"]  # conv(p)
    q: Float[Tensor, "2 N F"]  # act(h), where h = lin2(g)
    first: Float[Tensor, "N F"]  # act'(h)
    second: Float[Tensor, "N F"]  # act''(h), times the adjoint of dq from the slopes on
    p_bar: Float[Tensor, "2 N F"]
    g_bar: Float[Tensor, "2 N F"]
    h_bar: Float[Tensor, "2 N F"]
    y_bar: Float[Tensor, "2 N F"]  # of the layer's result, x + lin3(q)

    @classmethod
    def empty(cls, x: Tensor) -> "_Layer":
        return cls(x, *(torch.empty_like(x) for _ in range(3)), None, None,
                   *(torch.empty_like(x) for _ in range(4)))  # fmt: skip


class _Tape(NamedTuple):
    layers: list[_Layer]
    readout: _Layer  # x, q, first, second, h_bar alone
    y: Float[Tensor, "N"]


def _forward(plan: Plan, x: Tensor, tables: Tensor, parameters: tuple) -> _Tape:
    ops, w = kernels(x), plan.filters.weights
    rows = 2 if plan.with_slope else 1
    layers, (r1, s1, r2, s2) = _by_layer(parameters)
    features, kept = x.new_empty(rows, *x.shape), []
    features[0] = x
    for (w1, b1, w2, b2, w3, b3), table in zip(layers, tables, strict=True):
        now = _Layer.empty(features)
        torch.mm(now.x[0], w1.t(), out=now.p[0])
        if b1 is not None:
            now.p[0].add_(b1)
        now.g[0] = ops.conv(now.p[0], table, plan.filters.interval, w, plan.filters.edges)
        value, first, second = derivatives(plan.activation, torch.addmm(b2, now.g[0], w2.t()))
        now.q[0] = value
        kept.append(now._replace(first=first, second=second))
        features = torch.empty_like(features)
        torch.addmm(now.x[0], value, w3.t(), out=features[0]).add_(b3)
    h = torch.addmm(s1, features[0], r1.t())
    value, first, second = derivatives(plan.readout_activation, h)
    q, h_bar = (h.new_empty(rows, *h.shape) for _ in range(2))
    q[0] = value
    readout = _Layer(features, None, None, q, first, second, None, None, h_bar, None)
    return _Tape(kept, readout, torch.addmv(s2, value, r2[0]))


def _slopes(plan: Plan, tape: _Tape, tables: Tensor, parameters: tuple, out: Tensor) -> None:
    """Reverse Σ seed y, add its slope along each edge to `out`, keep the adjoints."""
    interval, edges = plan.filters.interval, plan.filters.edges
    ops, w, dw = kernels(out), plan.filters.weights, plan.filters.slopes
    layers, (r1, _, r2, _) = _by_layer(parameters)
    last = tape.readout
    q_bar = torch.outer(plan.seed, r2[0])
    torch.mul(last.first, q_bar, out=last.h_bar[1])
    last.second.mul_(q_bar)
    y_bar = last.h_bar[1] @ r1
    for now, weights, table in reversed([*zip(tape.layers, layers, tables, strict=True)]):
        w1, _, w2, _, w3, _ = weights
        now.y_bar[1] = y_bar
        q_bar = y_bar @ w3
        torch.mul(now.first, q_bar, out=now.h_bar[1])
        now.second.mul_(q_bar)
        torch.mm(now.h_bar[1], w2, out=now.g_bar[1])
        out += (ops.dot(now.p[0], now.g_bar[1], table, interval, edges) * dw).sum(1)
        if now is not tape.layers[0]:
            now.p_bar[1] = ops.conv(now.g_bar[1], table, interval, w, edges)
            y_bar = torch.addmm(y_bar, now.p_bar[1], w1)


def _tangents(
    plan: Plan, tape: _Tape, dweights: Tensor, tables: Tensor, parameters: list
) -> list[Tensor]:
    """Carry the tangents that belong to the weights' through the layers.

    Returns what the curvature of each activation adds to the adjoint of its argument.
    """
    ops, w, interval = kernels(tables), plan.filters.weights, plan.filters.interval
    layers, (r1, _, _, _) = _by_layer(parameters)
    results = [layer.x for layer in tape.layers[1:]] + [tape.readout.x]
    bends = []
    for now, result, weights, table in zip(tape.layers, results, layers, tables, strict=True):
        w1, _, w2, _, w3, _ = weights
        if now is tape.layers[0]:  # the embedding does not move
            now.x[1] = now.p[1] = 0
            now.g[1] = ops.conv(now.p[0], table, interval, dweights, plan.filters.edges)
        else:
            torch.mm(now.x[1], w1.t(), out=now.p[1])
            now.g[1] = ops.conv_tangent(
                now.p[0], now.p[1], table, interval, w, dweights, plan.filters.edges
            )
        dh = now.g[1] @ w2.t()
        torch.mul(now.first, dh, out=now.q[1])
        bends.append(now.second * dh)
        torch.addmm(now.x[1], now.q[1], w3.t(), out=result[1])
    dh = tape.readout.x[1] @ r1.t()
    torch.mul(tape.readout.first, dh, out=tape.readout.q[1])
    bends.append(tape.readout.second * dh)
    return bends


def _reverse(
    plan: Plan, tape: _Tape, y_bar: Tensor, dweights: Tensor | None, bends: list[Tensor],
    tables: Tensor, parameters: list,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Gradients of Σ ȳ y + Σ seed dy: for x, the tables and each parameter."""
    ops, w, interval = kernels(tables), plan.filters.weights, plan.filters.interval
    layers, (r1, _, r2, _) = _by_layer(parameters)
    last, table_bars = tape.readout, torch.empty_like(tables)
    r2_bar = y_bar @ last.q[0]
    torch.mul(last.first, torch.outer(y_bar, r2[0]), out=last.h_bar[0])
    if plan.with_slope:
        r2_bar += plan.seed @ last.q[1]
        last.h_bar[0] += bends[-1]
    readout_bars = [
        _weight(last.h_bar, last.x), last.h_bar[0].sum(0), r2_bar.unsqueeze(0), y_bar.sum(0, True)
    ]  # fmt: skip
    x_bar, gradients = last.h_bar[0] @ r1, []
    for index in reversed(range(len(layers))):
        now, table, (w1, b1, w2, _, w3, _) = tape.layers[index], tables[index], layers[index]
        now.y_bar[0] = x_bar
        torch.mul(now.first, x_bar @ w3, out=now.h_bar[0])
        if plan.with_slope:
            now.h_bar[0] += bends[index]
        torch.mm(now.h_bar[0], w2, out=now.g_bar[0])
        if plan.with_slope:
            adjoints = now.g_bar[1], now.g_bar[0]
            now.p_bar[0] = ops.conv_tangent(
                *adjoints, table, interval, w, dweights, plan.filters.edges
            )
            table_bars[index] = ops.table_tangent(
                now.p[0], now.g_bar[0], now.p[1], now.g_bar[1], interval, w, dweights,
                plan.filters.edges, tables.size(1)
            )  # fmt: skip
        else:
            now.p_bar[0] = ops.conv(now.g_bar[0], table, interval, w, plan.filters.edges)
            table_bars[index] = ops.table(
                now.p[0], now.g_bar[0], interval, w, plan.filters.edges, tables.size(1)
            )
        moved = slice(None) if index else slice(0, 1)  # the embedding has no tangent
        gradients = [
            _weight(now.p_bar[moved], now.x[moved]), None if b1 is None else now.p_bar[0].sum(0),
            _weight(now.h_bar, now.g), now.h_bar[0].sum(0),
            _weight(now.y_bar, now.q), now.y_bar[0].sum(0),
            *gradients,
        ]  # fmt: skip
        x_bar = torch.addmm(x_bar, now.p_bar[0], w1)
    return x_bar, table_bars, *gradients, *readout_bars


def _weight(y_bar: Float[Tensor, "2 N O"], x: Float[Tensor, "2 N I"]) -> Float[Tensor, "O I"]:
    """ȳᵀ x + dȳᵀ dx, the gradient of a weight."""
    return y_bar.flatten(0, 1).t() @ x.flatten(0, 1)


def _by_layer(parameters: tuple | list) -> tuple[list, tuple]:
    """Six for each layer, the last four for the readout."""
    return [parameters[i : i + 6] for i in range(0, len(parameters) - 4, 6)], parameters[-4:]


@singledispatch
def derivatives(activation: nn.Module, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """act(h), act'(h), act''(h) of any activation that acts on each number alone."""
    with torch.enable_grad():
        h = h.detach().requires_grad_()
        value = activation(h)
        (first,) = torch.autograd.grad(value.sum(), h, create_graph=True)
        second = torch.zeros_like(h)
        if first.requires_grad:
            (second,) = torch.autograd.grad(first.sum(), h, materialize_grads=True)
    return value.detach(), first.detach(), second


@derivatives.register
def _(activation: ShiftedSoftplus, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    first = torch.sigmoid(h)
    value = F.softplus(h, threshold=40).sub_(math.log(2.0))
    return value, first, torch.addcmul(first, first, first, value=-1)
