"""Activations and their derivatives, as loops that compilers turn into vector instructions."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from schnetgeo.ops.jit import inner, standalone

_LN2 = 0.6931471805599453


@standalone
def softplus_of(value, first):
    """Replace each number h by ln(½ eʰ + ½), and write its derivative σ(h) to `first`.

    ln(1 + y) is 2 artanh(y / (2 + y)), with y = e^−|h|.
    """
    number = value.dtype.type
    one, two, ln2 = number(1), number(2), number(_LN2)
    for n in range(value.shape[0]):
        h = value[n]
        small = _exp_minus(abs(h))
        inverse = one / ((one + small) * (two + small))
        sigmoid = (two + small) * inverse
        z = small * (one + small) * inverse
        square, series = z * z, number(0)
        for odd in range(_last_odd(h), 0, -2):
            series = series * square + number(one / odd)
        first[n] = sigmoid if h > 0 else small * sigmoid
        value[n] = max(h, number(0)) + two * z * series - ln2


@standalone
def silu_of(value, first, second):
    """Replace each number h by h σ(h); `first` and `second` become its derivatives."""
    one, two = value.dtype.type(1), value.dtype.type(2)
    for n in range(value.shape[0]):
        h = value[n]
        small = _exp_minus(abs(h))
        upper = one / (one + small)
        sigmoid = upper if h > 0 else small * upper
        slope = small * upper * upper
        first[n] = sigmoid + h * slope
        second[n] = slope * (two + h * (one - two * sigmoid))
        value[n] = h * sigmoid


@standalone
def sigmoid_of(value, first, second):
    """Replace each number h by σ(h); `first` and `second` become its derivatives."""
    one, two = value.dtype.type(1), value.dtype.type(2)
    for n in range(value.shape[0]):
        h = value[n]
        small = _exp_minus(abs(h))
        upper = one / (one + small)
        sigmoid = upper if h > 0 else small * upper
        slope = small * upper * upper
        value[n], first[n], second[n] = sigmoid, slope, slope * (one - two * sigmoid)


@inner
def curvature(first, second):
    """The second derivative of the shifted softplus, σ (1 − σ), from the first."""
    for n in range(first.shape[0]):
        second[n] = first[n] - first[n] * first[n]


@inner
def _exp_minus(size):
    """e^−size for a size that is not negative: a power of two times a polynomial."""
    ln2 = _as(size, _LN2)
    twos = min(np.floor(size * _as(size, 1 / _LN2) + _as(size, 0.5)), _most_twos(size))
    rest = max(twos * ln2 - size, -ln2)
    total = _as(size, 1)
    for term in range(_last_power(size), 0, -1):
        total = _as(size, 1) + rest * _as(size, 1 / term) * total
    return total * _two_to_minus(twos)


@intrinsic
def _two_to_minus(typing, number):
    """2^−n for a whole number n ≥ 0, put together from its bits."""
    bits, bias, mantissa = (32, 127, 23) if number == types.float32 else (64, 1023, 52)

    def generate(context, builder, signature, arguments):
        word = ir.IntType(bits)
        power = builder.sub(ir.Constant(word, bias), builder.fptosi(arguments[0], word))
        return builder.bitcast(builder.shl(power, ir.Constant(word, mantissa)), arguments[0].type)

    return number(number), generate


def _as(number, value):
    """A value in the type of a number: arithmetic of two types would be done in the wider one."""


def _last_power(number):
    """Of the series of the exponential that its type can tell from the function."""


def _last_odd(number):
    """Of the series of the logarithm."""


def _most_twos(number):
    """The largest n for which 2^−n is a normal number."""


@overload(_as, inline="always")
def _(number, value):
    kind = np.float32 if number == types.float32 else np.float64
    return lambda number, value: kind(value)


def _depends_on_type(function, single: int, double: int) -> None:
    """Let a function be one of two numbers, known when it is compiled."""

    @overload(function, inline="always")
    def _(number):
        value = single if number == types.float32 else double
        return lambda number: value


_depends_on_type(_last_power, 6, 13)
_depends_on_type(_last_odd, 13, 35)
_depends_on_type(_most_twos, 126, 1022)
