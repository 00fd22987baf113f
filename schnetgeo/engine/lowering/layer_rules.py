"""What layers, activations, and norms of torch write to a program."""

import math
from typing import Protocol

import torch

from schnetgeo.engine.lowering import axes
from schnetgeo.engine.lowering.arithmetic import add, affine, apply, multiply
from schnetgeo.engine.lowering.values import (
    Constant,
    Draft,
    Features,
    Index,
    Message,
    NotLowered,
    Place,
    Value,
    Weight,
    describe,
    features,
    normal,
)
from schnetgeo.engine.program import Function


class Call(Protocol):
    """What a rule knows besides its arguments."""

    draft: Draft
    num_atoms: int
    dtype: torch.dtype
    new_shape: tuple[int, ...]  # of the result
    piece_shapes: list[tuple[int, ...]]  # of the results, if there are several

    def shape(self, value: Value) -> tuple[int, ...]: ...


def linear(call, x, weight, bias=None):
    if isinstance(x, Constant) and x.number == 0 and bias is None:
        return x
    x = features(call.draft, x, "applies a linear layer to")
    if not isinstance(weight, Weight) or weight.steps or len(weight.shape) != 2:
        raise NotLowered("has a linear layer whose weight is no parameter, but computed")
    if bias is not None and (not isinstance(bias, Weight) or bias.steps):
        raise NotLowered("has a linear layer whose bias is no parameter, but computed")
    if x.axes[-1] != "f" and (x.axes[-1] != "1" or "f" in x.axes):
        raise NotLowered("applies a linear layer to another dimension than channels")
    builder, channels = call.draft.builder(x.place), weight.shape[0]
    bias = None if bias is None else bias.number
    register = builder.linear(x.register, weight.number, bias, channels)
    return normal(call.draft, x.place, register, x.axes[:-1] + "f")


def embedding(
    call,
    z,
    weight,
    padding_idx=None,
    max_norm=None,
    norm_type=2.0,
    scale_grad_by_freq=False,
    sparse=False,
):
    if padding_idx is not None or max_norm is not None or scale_grad_by_freq or sparse:
        raise NotLowered("has an embedding with other options than its size")
    if z is not Index.ATOMIC_NUMBER or not isinstance(weight, Weight):
        raise NotLowered(f"takes rows of {describe(weight)} by {describe(z)}")
    if len(weight.shape) != 2 or weight.steps:
        raise NotLowered(f"takes rows of a parameter of shape {weight.shape}")
    register = call.draft.atoms.embedding(weight.number, weight.shape[1])
    return normal(call.draft, Place.ATOM, register, "rf")


def subtract(call, x, y, alpha=1):
    return add_scaled(call, x, y, -alpha)


def add_scaled(call, x, y, alpha=1):
    if alpha != 1:
        y = y * alpha if isinstance(y, int | float) else affine(call.draft, y, alpha)
    return _widened(call, add(call.draft, x, y))


def times(call, x, y):
    return _widened(call, multiply(call.draft, x, y))


def _widened(call, x):
    """A sum or product with a constant that has more channels."""
    if not isinstance(x, Features | Message) or call.shape(x) == call.new_shape:
        return x
    return axes.expand(call.draft, x, call.shape(x), call.new_shape)


def divide(call, x, y, rounding_mode=None):
    if rounding_mode is not None:
        raise NotLowered("rounds a quotient")
    if isinstance(y, int | float):
        return affine(call.draft, x, 1 / y)
    return multiply(call.draft, apply(call.draft, y, Function.RECIPROCAL), x)


def softplus(call, x, beta=1, threshold=20):
    if beta != 1 or threshold < 20:
        raise NotLowered("takes a softplus of other options than beta=1, threshold=20")
    return apply(call.draft, x, Function.SOFTPLUS)


def gelu(call, x, approximate="none"):
    if approximate != "none":
        raise NotLowered(f"takes a GELU of approximate={approximate!r}")
    return apply(call.draft, x, Function.GELU)


def silu(call, x, inplace=False):
    if inplace:
        raise NotLowered("changes features in place")
    return apply(call.draft, x, Function.SILU)


def mish(call, x, inplace=False):
    if inplace:
        raise NotLowered("changes features in place")
    soft = apply(call.draft, x, Function.SOFTPLUS)
    return multiply(call.draft, x, apply(call.draft, soft, Function.TANH))


def log_sigmoid(call, x):
    return affine(call.draft, apply(call.draft, affine(call.draft, x, -1), Function.SOFTPLUS), -1)


def tanh_shrink(call, x):
    return subtract(call, x, apply(call.draft, x, Function.TANH))


def dropout(call, x, p=0.5, training=True, inplace=False):
    if training and p > 0:
        raise NotLowered("draws random numbers (dropout in training mode)")
    return x


def sum_over(call, x, dim=None, keepdim=False, dtype=None):
    dims = dims_of(call, x, dim)
    if isinstance(x, Constant):
        return x._replace(number=x.number * _count(x.shape, dims))
    return axes.sum_over(call.draft, x, dims, keepdim)


def mean_over(call, x, dim=None, keepdim=False, dtype=None):
    if isinstance(x, Constant):
        return x
    dims = dims_of(call, x, dim)
    return affine(call.draft, sum_over(call, x, dims, keepdim), 1 / _count(call.shape(x), dims))


def _count(shape, dims) -> int:
    return math.prod(shape[dim] for dim in dims)


def dims_of(call, x, dim) -> tuple[int, ...]:
    if dim is None:
        return tuple(range(len(call.shape(x))))
    return (dim,) if isinstance(dim, int) else tuple(dim)


def rms_norm(call, x, normalized_shape, weight=None, eps=None):
    _check_last(call, x, normalized_shape)
    eps = torch.finfo(call.dtype).eps if eps is None else eps
    return _normalized(call, x, eps, weight)


def layer_norm(call, x, normalized_shape, weight=None, bias=None, eps=1e-5):
    _check_last(call, x, normalized_shape)
    x = _normalized(call, subtract(call, x, mean_over(call, x, -1, True)), eps, weight)
    return x if bias is None else add(call.draft, x, bias)


def _check_last(call, x, normalized_shape):
    if tuple(normalized_shape) != call.shape(x)[-1:]:
        raise NotLowered(f"normalizes over several dimensions, {tuple(normalized_shape)}")


def _normalized(call, x, eps, weight):
    square = mean_over(call, apply(call.draft, x, Function.SQUARE), -1, True)
    inverse = apply(call.draft, affine(call.draft, square, shift=eps), Function.RSQRT)
    x = multiply(call.draft, x, inverse)
    return x if weight is None else multiply(call.draft, x, weight)
