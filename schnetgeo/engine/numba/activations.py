"""Activations and their derivatives, compiled."""

import math

import numpy as np

from schnetgeo.engine.program import Function
from schnetgeo.ops.activations import sigmoid_of, silu_of, softplus_of
from schnetgeo.ops.jit import standalone

FUNCTIONS = (
    Function.SHIFTED_SOFTPLUS, Function.SILU, Function.SIGMOID, Function.TANH, Function.SOFTPLUS,
    Function.GELU, Function.SQRT, Function.RSQRT, Function.RECIPROCAL, Function.EXP,
    Function.SQUARE,
)  # fmt: skip
(
    SHIFTED_SOFTPLUS, SILU, SIGMOID, TANH, SOFTPLUS, GELU, SQRT, RSQRT, RECIPROCAL, EXP, SQUARE
) = map(int, FUNCTIONS)  # fmt: skip


@standalone
def activate(function, value, first, second):
    """Replace each number x by function(x); `first` and `second` become its derivatives.

    `second` is not written for the shifted softplus: it is σ′ (1 − σ′).
    """
    number = value.dtype.type
    if function in (SHIFTED_SOFTPLUS, SOFTPLUS):
        softplus_of(value, first)
        if function == SOFTPLUS:
            for n in range(value.shape[0]):
                value[n] += number(math.log(2))
                second[n] = first[n] - first[n] * first[n]
    elif function == SILU:
        silu_of(value, first, second)
    elif function == SIGMOID:
        sigmoid_of(value, first, second)
    elif function == TANH:  # 2 σ(2x) − 1
        for n in range(value.shape[0]):
            value[n] *= number(2)
        sigmoid_of(value, first, second)
        for n in range(value.shape[0]):
            value[n] = number(2) * value[n] - number(1)
            first[n] *= number(4)
            second[n] *= number(8)
    else:
        _activate(function, value, first, second)


@standalone
def _activate(function, value, first, second):
    number = value.dtype.type
    one, half = number(1), number(0.5)
    for n in range(value.shape[0]):
        x = value[n]
        if function == SQUARE:
            value[n], first[n], second[n] = x * x, x + x, number(2)
        elif function == SQRT:
            root = np.sqrt(x)
            value[n], first[n], second[n] = root, half / root, -number(0.25) / (root * x)
        elif function == RSQRT:
            root = one / np.sqrt(x)
            value[n], first[n] = root, -half * root / x
            second[n] = number(0.75) * root / (x * x)
        elif function == RECIPROCAL:
            inverse = one / x
            value[n], first[n] = inverse, -inverse * inverse
            second[n] = number(2) * inverse * inverse * inverse
        elif function == EXP:
            value[n] = first[n] = second[n] = np.exp(x)
        else:  # GELU
            density = number(1 / math.sqrt(2 * math.pi)) * np.exp(-half * x * x)
            integral = half * (one + number(math.erf(x * number(math.sqrt(0.5)))))
            value[n], first[n] = x * integral, integral + x * density
            second[n] = density * (number(2) - x * x)
