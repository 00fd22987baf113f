"""The filters of a program at any distances, by plain torch."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from schnetgeo.engine import program as p
from schnetgeo.nn.mlp import ShiftedSoftplus

FUNCTIONS: dict[p.Function, Callable[[Tensor], Tensor]] = {
    p.Function.SHIFTED_SOFTPLUS: ShiftedSoftplus(),
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


def evaluate(
    program: p.Program, parameters: Sequence[Tensor], basis: Float[Tensor, "E K"]
) -> list[Float[Tensor, "E F"]]:
    """The results of a program of filters for basis functions e(r); differentiable."""
    registers = {0: basis}
    for op in program.operations:
        x = registers[op.x]
        registers[op.out] = _apply(op, x, registers, parameters, program)
    return [registers[register] for register in program.outputs]


def _apply(
    op: p.Operation, x: Tensor, registers: dict[int, Tensor], parameters: Sequence[Tensor],
    program: p.Program,
) -> Tensor:  # fmt: skip
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
        case p.Slice(out=out, start=start):
            return x[..., start : start + program.registers[out].channels]
        case p.Concatenate(y=y):
            return torch.cat([x, registers[y]], -1)
    raise TypeError(f"{type(op).__name__} is no operation of filters")
