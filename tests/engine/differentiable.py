"""Programs evaluated by ordinary differentiable torch, as their definitions say."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from schnetgeo.engine import program as p
from schnetgeo.ops import Edges, bspline

FUNCTIONS = {
    p.Function.SHIFTED_SOFTPLUS: lambda x: F.softplus(x) - math.log(2),
    p.Function.SILU: F.silu,
    p.Function.SIGMOID: torch.sigmoid,
    p.Function.TANH: torch.tanh,
    p.Function.SOFTPLUS: F.softplus,
    p.Function.GELU: F.gelu,
    p.Function.SQRT: torch.sqrt,
    p.Function.RSQRT: torch.rsqrt,
    p.Function.RECIPROCAL: torch.reciprocal,
    p.Function.EXP: torch.exp,
    p.Function.SQUARE: torch.square,
}


def atomic_values(
    model: p.ModelProgram,
    parameters: list[Tensor],
    basis: Tensor,
    z: Tensor,
    edges: Edges,
    weights: tuple[Tensor, Tensor],
    unit: Tensor,
) -> Tensor:
    """Atomic values y (N,), with derivatives of any order by all tensors.

    Args:
        model: the program.
        parameters: as it names them.
        basis: on the knots.
        z: atomic numbers.
        edges: j → i.
        weights: `interval` (E,) and f(r_e) B_q(t_e), (E, 4).
        unit: from i to j, (E, 3).
    """
    samples = _run(model.filters, parameters, {0: basis})
    interval, w = weights
    filters = []
    for s in samples:
        c = bspline.coefficients(s)
        filters.append(sum(w[:, q : q + 1] * c[interval + q] for q in range(4)))
    (y,) = _run(model.atoms, parameters, {}, z, edges, filters, unit)
    return y.squeeze(1)


def _run(program, parameters, registers, z=None, edges=None, filters=None, unit=None):
    for op in program.operations:
        x, y = (registers.get(getattr(op, name, None)) for name in "xy")
        weight = parameters[op.weight] if hasattr(op, "weight") else None
        match op:
            case p.Embedding():
                out = weight[z]
            case p.Linear():
                out = x @ weight.T
                if op.bias is not None:
                    out = out + parameters[op.bias]
                if op.residual is not None:
                    out = out + registers[op.residual]
            case p.Activation():
                out = FUNCTIONS[op.function](x)
            case p.Affine():
                out = op.scale * x + op.shift
            case p.Scale():
                out = x * weight
            case p.Shift():
                out = x + parameters[op.bias]
            case p.Add():
                out = torch.add(*_same_components(x, y))
            case p.Multiply():
                out = torch.mul(*_same_components(x, y))
            case p.SumChannels():
                out = x.sum(-1, keepdim=True)
            case p.SumComponents():
                out = x.sum(1)
            case p.Slice():
                out = x[..., op.start : op.start + program.registers[op.out].channels]
            case p.Concatenate():
                out = torch.cat([x, y], dim=-1)
            case p.FilterConv():
                out = _convolve(op.direction, x, edges, filters[op.filter], unit)
        registers[op.out] = out
    return [registers[output] for output in program.outputs]


def _same_components(x, y):
    if x.dim() < y.dim():
        x = x.unsqueeze(1)
    elif y.dim() < x.dim():
        y = y.unsqueeze(1)
    return x, y


def _convolve(direction, x, edges, W, unit):
    x_j = x[edges.source]
    if direction is p.Direction.GRADIENT:
        messages = (W * x_j).unsqueeze(1) * unit.unsqueeze(2)
    elif direction is p.Direction.DIVERGENCE:
        messages = W * (x_j * unit.unsqueeze(2)).sum(1)
    elif x.dim() == 3:
        messages = W.unsqueeze(1) * x_j
    else:
        messages = W * x_j
    out = messages.new_zeros(len(x), *messages.shape[1:])
    return out.index_add(0, edges.target, messages)
