"""Runs a program in plain differentiable torch, as the definitions of its operations say."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from schnetgeo.engine import program as p
from schnetgeo.engine.lowering.lower import Lowered
from schnetgeo.engine.lowering.outputs import select
from schnetgeo.nn.conv import EdgeFeatures
from schnetgeo.ops import bspline

FUNCTIONS = {
    p.Function.SHIFTED_SOFTPLUS: lambda x: F.softplus(x, threshold=40) - math.log(2),
    p.Function.SILU: F.silu,
    p.Function.SIGMOID: torch.sigmoid,
    p.Function.TANH: torch.tanh,
    p.Function.SOFTPLUS: lambda x: F.softplus(x, threshold=40),
    p.Function.GELU: F.gelu,
    p.Function.SQRT: torch.sqrt,
    p.Function.RSQRT: torch.rsqrt,
    p.Function.RECIPROCAL: torch.reciprocal,
    p.Function.EXP: torch.exp,
    p.Function.SQUARE: torch.square,
}


class Edges(NamedTuple):
    """Edges from `source` to `target`."""

    source: Tensor
    target: Tensor
    unit: Tensor  # from target to source (E, 3)
    filters: list[Tensor]  # f(r) W(r) of each filter (E, F)


def lowered_values(lowered: Lowered, z: Tensor, edges: EdgeFeatures) -> Tensor | tuple:
    """What a lowered model returns, with each filter network on the edges themselves."""
    program, outputs, parameters, _ = lowered
    filters = _run(program.filters, parameters, {0: edges.edge_attr})
    filters = [W * edges.edge_weight[:, None] for W in filters]
    graph = Edges(*edges.edge_index, edges.edge_unit, filters)
    return select(outputs, _values(program.atoms, parameters, z, graph))


def values_on_knots(
    model: p.ModelProgram,
    parameters: list[Tensor],
    basis: Tensor,
    z: Tensor,
    edge_index: tuple[Tensor, Tensor],
    weights: tuple[Tensor, Tensor],
    unit: Tensor,
) -> list[Tensor]:
    """Results of the atoms (N, C, F), with derivatives of any order by all tensors.

    Args:
        model: the program.
        parameters: as it names them.
        basis: on the knots.
        z: atomic numbers.
        edge_index: sources and targets.
        weights: `interval` (E,) and f(r_e) B_q(t_e), (E, 4).
        unit: from target to source, (E, 3).
    """
    interval, w = weights
    filters = []
    for samples in _run(model.filters, parameters, {0: basis}):
        c = bspline.coefficients(samples)
        filters.append(sum(w[:, q : q + 1] * c[interval + q] for q in range(4)))
    return _values(model.atoms, parameters, z, Edges(*edge_index, unit, filters))


def _values(program, parameters, z, edges) -> list[Tensor]:
    results = _run(program, parameters, {}, z, edges)
    return [x.unsqueeze(1) if x.dim() == 2 else x for x in results]


def _run(program, parameters, registers, z=None, edges=None) -> list[Tensor]:
    for op in program.operations:
        channels, components = program.registers[op.out]
        out = registers[op.out] = _result(op, channels, parameters, registers, z, edges)
        assert out.shape[1:] == ((3, channels) if components == 3 else (channels,)), op
    return [registers[output] for output in program.outputs]


def _result(op: p.Operation, channels: int, parameters, r, z, edges) -> Tensor:
    match op:
        case p.Embedding(_, weight):
            return parameters[weight][z]
        case p.Linear(_, x, weight, bias, residual):
            y = r[x] @ parameters[weight].T + (0 if bias is None else parameters[bias])
            return y if residual is None else y + r[residual]
        case p.Activation(_, x, function):
            return FUNCTIONS[function](r[x])
        case p.Affine(_, x, scale, shift):
            return scale * r[x] + shift
        case p.Scale(_, x, weight):
            return r[x] * parameters[weight]
        case p.Shift(_, x, bias):
            return r[x] + parameters[bias]
        case p.Add(_, x, y):
            return torch.add(*_same_components(r[x], r[y]))
        case p.Multiply(_, x, y):
            return torch.mul(*_same_components(r[x], r[y]))
        case p.SumChannels(_, x):
            return r[x].sum(-1, keepdim=True)
        case p.SumComponents(_, x):
            return r[x].sum(1)
        case p.Slice(_, x, start):
            return r[x][..., start : start + channels]
        case p.Concatenate(_, x, y):
            return torch.cat([r[x], r[y]], dim=-1)
        case p.FilterConv():
            return _convolve(op, r[op.x], edges)


def _same_components(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if x.dim() == y.dim():
        return x, y
    return (x.unsqueeze(1), y) if x.dim() == 2 else (x, y.unsqueeze(1))


def _convolve(op: p.FilterConv, x: Tensor, edges: Edges) -> Tensor:
    W, x_j = edges.filters[op.filter], x[edges.source]
    if op.direction is p.Direction.GRADIENT:
        message = (W * x_j).unsqueeze(1) * edges.unit.unsqueeze(2)
    elif op.direction is p.Direction.DIVERGENCE:
        message = W * (x_j * edges.unit.unsqueeze(2)).sum(1)
    else:
        message = x_j * (W if x.dim() == 2 else W.unsqueeze(1))
    out = message.new_zeros(len(x), *message.shape[1:])
    return out.index_add(0, edges.target, message)
