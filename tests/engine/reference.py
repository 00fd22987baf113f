"""Runs a program in plain torch, with each filter network on the edges themselves."""

import torch
from torch import Tensor

from schnetgeo.engine.lowering.lower import Lowered
from schnetgeo.engine.program import (
    Activation,
    Add,
    Affine,
    Concatenate,
    Direction,
    Embedding,
    FilterConv,
    Function,
    Linear,
    Multiply,
    Operation,
    Program,
    Scale,
    Shift,
    Slice,
    SumChannels,
    SumComponents,
)
from schnetgeo.nn.conv import EdgeFeatures

_FUNCTIONS = {
    Function.SHIFTED_SOFTPLUS: lambda x: (
        torch.nn.functional.softplus(x, threshold=40) - 0.6931471805599453
    ),
    Function.SILU: torch.nn.functional.silu,
    Function.SIGMOID: torch.sigmoid,
    Function.TANH: torch.tanh,
    Function.SOFTPLUS: lambda x: torch.nn.functional.softplus(x, threshold=40),
    Function.GELU: torch.nn.functional.gelu,
    Function.SQRT: torch.sqrt,
    Function.RSQRT: torch.rsqrt,
    Function.RECIPROCAL: torch.reciprocal,
    Function.EXP: torch.exp,
    Function.SQUARE: torch.square,
}


def atomic_values(lowered: Lowered, z: Tensor, edges: EdgeFeatures) -> Tensor:
    """What a lowered model gives for each atom."""
    program, parameters, _ = lowered
    filters = _run(program.filters, parameters, {0: edges.edge_attr}, z, edges, ())
    (values,) = _run(program.atoms, parameters, {}, z, edges, filters)
    return values[:, 0]


def _run(program: Program, p, r: dict[int, Tensor], z, edges, filters) -> list[Tensor]:
    for op in program.operations:
        channels, components = program.registers[op.out]
        r[op.out] = _result(op, channels, p, r, z, edges, filters)
        assert r[op.out].shape[1:] == ((3, channels) if components == 3 else (channels,)), op
    return [r[out] for out in program.outputs]


def _result(op: Operation, channels: int, p, r, z, edges, filters) -> Tensor:
    match op:
        case Embedding(_, weight):
            return p[weight][z]
        case Linear(_, x, weight, bias, residual):
            y = r[x] @ p[weight].T + (0 if bias is None else p[bias])
            return y if residual is None else y + r[residual]
        case Activation(_, x, function):
            return _FUNCTIONS[function](r[x])
        case Affine(_, x, scale, shift):
            return scale * r[x] + shift
        case Scale(_, x, weight):
            return r[x] * p[weight]
        case Shift(_, x, bias):
            return r[x] + p[bias]
        case Add(_, x, y):
            return torch.add(*_aligned(r[x], r[y]))
        case Multiply(_, x, y):
            return torch.mul(*_aligned(r[x], r[y]))
        case SumChannels(_, x):
            return r[x].sum(-1, keepdim=True)
        case SumComponents(_, x):
            return r[x].sum(1)
        case Slice(_, x, start):
            return r[x][..., start : start + channels]
        case Concatenate(_, x, y):
            return torch.cat([r[x], r[y]], dim=-1)
        case FilterConv():
            return _convolution(op, r[op.x], filters[op.filter], edges)


def _aligned(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if x.dim() == y.dim():
        return x, y
    return (x.unsqueeze(1), y) if x.dim() == 2 else (x, y.unsqueeze(1))


def _convolution(op: FilterConv, x: Tensor, filter: Tensor, edges: EdgeFeatures) -> Tensor:
    source, target = edges.edge_index
    weight = filter * edges.edge_weight[:, None]
    if op.direction is Direction.NONE:
        message = x[source] * (weight if x.dim() == 2 else weight[:, None])
    elif op.direction is Direction.GRADIENT:
        message = (x[source] * weight)[:, None] * edges.edge_unit[:, :, None]
    else:
        message = (x[source] * edges.edge_unit[:, :, None]).sum(1) * weight
    return message.new_zeros(len(x), *message.shape[1:]).index_add(0, target, message)
