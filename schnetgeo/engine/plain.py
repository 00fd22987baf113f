"""Operations of a program by plain torch, differentiable to any order, on any device."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from schnetgeo.engine import program as p
from schnetgeo.nn.mlp import ShiftedSoftplus

FUNCTIONS: dict[p.Function, Callable[[Tensor], Tensor]] = {
    p.Function.SHIFTED_SOFTPLUS: ShiftedSoftplus().forward,
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


def apply(
    op: p.Operation, registers: dict[int, Tensor], parameters: Sequence[Tensor], program: p.Program
) -> Tensor:
    """The result of an operation on each row alone, all but `Embedding` and `FilterConv`.

    Args:
        op: the operation.
        registers: (N, F) each, or (N, components, F) each where the program has vectors.
        parameters: as the program names them.
        program: that the operation is of.
    """
    x = registers[op.x]
    match op:
        case p.Linear(weight=weight, bias=bias, residual=residual):
            y = F.linear(x, parameters[weight], None if bias is None else parameters[bias])
            return y if residual is None else y + registers[residual]
        case p.Activation(function=function):
            return FUNCTIONS[function](x)
        case p.Affine(scale=scale, shift=shift):
            return scale * x + shift
        case p.Scale(weight=weight):
            return x * parameters[weight]
        case p.Shift(bias=bias):
            return x + parameters[bias]
        case p.Add(y=y):
            return x + registers[y]
        case p.Multiply(y=y):
            return x * registers[y]
        case p.SumChannels():
            return x.sum(-1, keepdim=True)
        case p.SumComponents():
            return x.sum(1, keepdim=True)
        case p.Slice(out=out, start=start):
            return x[..., start : start + program.registers[out].channels]
        case p.Concatenate(y=y):
            return torch.cat([x, registers[y]], -1)
    raise TypeError(f"{type(op).__name__} is no operation on rows alone")
