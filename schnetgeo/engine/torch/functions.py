"""The activations of programs with their derivatives, in torch."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from schnetgeo import ops
from schnetgeo.engine.program import Function


class Derivatives(NamedTuple):
    """σ(h), σ′(h) and σ″(h)."""

    value: Tensor
    first: Tensor
    second: Tensor


def derivatives(function: Function, h: Tensor) -> Derivatives:
    """An activation of each number, its first and its second derivative."""
    return FORMULAS[function](h)


def _shifted_softplus(h: Tensor) -> Derivatives:
    h = h.contiguous()
    result = Derivatives(torch.empty_like(h), torch.empty_like(h), torch.empty_like(h))
    ops.get_backend(h).shifted_softplus(h, *result)
    return result


def _silu(h: Tensor) -> Derivatives:
    s = h.sigmoid()
    d = s * (1 - s)
    return Derivatives(h * s, s + h * d, d * (2 + h * (1 - 2 * s)))


def _sigmoid(h: Tensor) -> Derivatives:
    s = h.sigmoid()
    d = s * (1 - s)
    return Derivatives(s, d, d * (1 - 2 * s))


def _tanh(h: Tensor) -> Derivatives:
    t = h.tanh()
    d = 1 - t * t
    return Derivatives(t, d, -2 * t * d)


def _softplus(h: Tensor) -> Derivatives:
    s = h.sigmoid()
    return Derivatives(F.softplus(h), s, s * (1 - s))


def _gelu(h: Tensor) -> Derivatives:
    cumulative = 0.5 * torch.erfc(h * -math.sqrt(0.5))
    density = torch.exp(-0.5 * h * h) * (1 / math.sqrt(2 * math.pi))
    return Derivatives(h * cumulative, cumulative + h * density, density * (2 - h * h))


def _sqrt(h: Tensor) -> Derivatives:
    y = h.sqrt()
    return Derivatives(y, 0.5 / y, -0.25 / (y * h))


def _rsqrt(h: Tensor) -> Derivatives:
    y = h.rsqrt()
    first = -0.5 * y / h
    return Derivatives(y, first, -1.5 * first / h)


def _reciprocal(h: Tensor) -> Derivatives:
    y = 1 / h
    return Derivatives(y, -y * y, 2 * y * y * y)


def _exp(h: Tensor) -> Derivatives:
    y = h.exp()
    return Derivatives(y, y, y)


def _square(h: Tensor) -> Derivatives:
    return Derivatives(h * h, 2 * h, torch.full_like(h, 2.0))


FORMULAS: dict[Function, Callable[[Tensor], Derivatives]] = {
    Function.SHIFTED_SOFTPLUS: _shifted_softplus,
    Function.SILU: _silu,
    Function.SIGMOID: _sigmoid,
    Function.TANH: _tanh,
    Function.SOFTPLUS: _softplus,
    Function.GELU: _gelu,
    Function.SQRT: _sqrt,
    Function.RSQRT: _rsqrt,
    Function.RECIPROCAL: _reciprocal,
    Function.EXP: _exp,
    Function.SQUARE: _square,
}
