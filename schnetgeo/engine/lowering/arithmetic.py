"""Sums and products of values, and functions of each number."""

import math
from numbers import Number

import torch

from schnetgeo.engine.lowering import messages
from schnetgeo.engine.lowering.builder import Builder
from schnetgeo.engine.lowering.values import (
    Constant,
    Draft,
    Features,
    Message,
    NotLowered,
    Place,
    Value,
    Weight,
    broadcast,
    describe,
    features,
)
from schnetgeo.engine.plain import FUNCTIONS
from schnetgeo.engine.program import Function


def apply(draft: Draft, x: Value, function: Function) -> Value:
    """A function of each number."""
    match x:
        case Constant(number, shape):
            exact = torch.tensor(number, dtype=torch.float64)
            return Constant(float(FUNCTIONS[function](exact)), shape)
        case Weight():
            return x._replace(steps=(*x.steps, function))
    x = features(draft, x, f"takes {function.name} of")
    return x._replace(register=draft.builder(x.place).activation(x.register, function))


def affine(draft: Draft, x: Value, scale: float = 1.0, shift: float = 0.0) -> Value:
    """Scale · x + shift."""
    match x:
        case Constant(number, shape):
            return Constant(scale * number + shift, shape)
        case Weight():
            return x._replace(steps=(*x.steps, (scale, shift)))
        case Features():
            if scale == 0:
                return Constant(shift, ())
            builder = draft.builder(x.place)
            return x._replace(register=builder.affine(x.register, scale, shift))
        case Message():
            return messages.affine(x, scale, shift) if scale else Constant(shift, ())
    raise NotLowered(f"calculates with {describe(x)}")


def add(draft: Draft, x: Value | Number, y: Value | Number) -> Value:
    """X + y."""
    if isinstance(y, Number):
        return affine(draft, x, shift=_real(y))
    if isinstance(x, Number | Weight | Constant):
        if isinstance(y, Weight | Constant):
            return _of_constants(draft, x, y, add)
        return add(draft, y, x)
    match y:
        case Constant(number):
            return affine(draft, x, shift=number)
        case Weight():
            return _with_weight(draft, x, y, Builder.shift, add)
    if _same_place(x, y):
        builder = draft.builder(x.place)
        return Features(x.place, builder.add(x.register, y.register), broadcast(x.axes, y.axes))
    return messages.add(_message(x), _message(y))


def multiply(draft: Draft, x: Value | Number, y: Value | Number) -> Value:
    """X ⊙ y."""
    if isinstance(y, Number):
        return affine(draft, x, _real(y))
    if isinstance(x, Number | Weight | Constant):
        if isinstance(y, Weight | Constant):
            return _of_constants(draft, x, y, multiply)
        return multiply(draft, y, x)
    match y:
        case Constant(number):
            return affine(draft, x, number) if number else y
        case Weight():
            return _with_weight(draft, x, y, Builder.scale, multiply)
    if _same_place(x, y):
        builder = draft.builder(x.place)
        register = builder.multiply(x.register, y.register)
        return Features(x.place, register, broadcast(x.axes, y.axes))
    return messages.multiply(draft, _message(x), _message(y))


def power(draft: Draft, x: Value, exponent: object) -> Value:
    """X to a power that roots, squares, and products make."""
    if not isinstance(exponent, int | float) or exponent * 2 != int(exponent * 2):
        raise NotLowered(f"takes the power {exponent!r}")
    if exponent < 0:
        if exponent == -0.5:
            return apply(draft, x, Function.RSQRT)
        return apply(draft, power(draft, x, -exponent), Function.RECIPROCAL)
    if exponent == 1:
        return x
    if exponent == 0.5:
        return apply(draft, x, Function.SQRT)
    if exponent == 2:
        return apply(draft, x, Function.SQUARE)
    if exponent not in (3, 4):
        raise NotLowered(f"takes the power {exponent!r}")
    square = apply(draft, x, Function.SQUARE)
    return multiply(draft, square, square if exponent == 4 else x)


def _real(number: Number) -> float:
    if isinstance(number, int | float) and math.isfinite(number):
        return float(number)
    raise NotLowered(f"calculates with {number!r}")


def _same_place(x: Value, y: Value) -> bool:
    pair = isinstance(x, Features) and isinstance(y, Features)
    return pair and x.place is y.place


def _message(x: Value) -> Message:
    if isinstance(x, Message):
        return x
    if not isinstance(x, Features) or x.place is Place.ATOM:
        raise NotLowered(f"combines {describe(x)} with values of edges")
    return messages.of(x)


def _of_constants(draft: Draft, x: Value | Number, y: Weight | Constant, combine) -> Value:
    """A sum or product of two, neither of which depends on the structure."""
    if isinstance(y, Constant):
        x, y = y, x
    if isinstance(x, Weight):
        raise NotLowered("combines two parameters")
    return combine(draft, y, x.number if isinstance(x, Constant) else x)


def _with_weight(draft: Draft, x: Value, weight: Weight, write, combine) -> Value:
    if isinstance(x, Message):
        row = weight_row(draft, Place.TARGET, weight)
        return combine(draft, x, row)
    if not isinstance(x, Features):
        raise NotLowered(f"combines {describe(x)} with a parameter")
    builder = draft.builder(x.place)
    channels = builder.channels(x.register)
    last = "f" if channels > 1 else "1"
    if not weight.steps and weight.shape == (channels,) and x.axes[-1] == last:
        return x._replace(register=write(builder, x.register, weight.number))
    return combine(draft, x, weight_row(draft, x.place, weight))


def weight_row(draft: Draft, place: Place, weight: Weight) -> Features:
    """A parameter (F,), the same in each row."""
    if len(weight.shape) != 1:
        raise NotLowered(
            f"calculates with a parameter of shape {weight.shape}, where (channels,) is known"
        )
    builder, (channels,) = draft.builder(place), weight.shape
    row = builder.scale(builder.constant(1.0, channels), weight.number)
    for step in weight.steps:
        function = isinstance(step, Function)
        row = builder.activation(row, step) if function else builder.affine(row, *step)
    return Features(place, row, "f" if channels > 1 else "1")
