"""One operation at a time, on registers that move with the edges and on others."""

from collections.abc import Callable, Iterator
from itertools import product

from schnetgeo.engine import program as p
from tests.engine.programs import Builder, RandomModel, Start, broadcast, model_with

Maker = Callable[[Builder, Start], int]


def models() -> dict[str, RandomModel]:
    """A model for each operation and each kind of argument."""
    return {name: model_with(maker) for name, maker in _makers()}


def _makers() -> Iterator[tuple[str, Maker]]:
    for kind in Start._fields:
        for name, maker in _unary(kind):
            yield f"{name} {kind}", maker
    for kinds in product(Start._fields, repeat=2):
        for operation in (p.Add, p.Multiply):
            yield f"{operation.__name__} {' '.join(kinds)}", _binary(operation, *kinds)
        if kinds.count("vector") != 1:
            yield f"Concatenate {' '.join(kinds)}", _concatenate(*kinds)
            yield f"Linear residual {' '.join(kinds)}", _residual(*kinds)
    for function in p.Function:
        yield f"Activation {function.name}", _activation(function)


def _unary(kind: str) -> Iterator[tuple[str, Maker]]:
    def emit(operation: type, components=None, channels=3, **fields) -> Maker:
        def maker(builder, start):
            x = getattr(start, kind)
            shape = p.Register(channels, components or builder.registers[x].components)
            parameters = {k: builder.parameter(*size) for k, size in fields.items() if k in _NAMES}
            return builder.emit(operation, shape, x=x, **(fields | parameters))

        return maker

    yield "Linear", emit(p.Linear, channels=4, weight=(4, 3), bias=(4,))
    yield "Affine", emit(p.Affine, scale=-0.7, shift=0.3)
    yield "Scale", emit(p.Scale, weight=(3,))
    yield "Shift", emit(p.Shift, bias=(3,))
    yield "SumChannels", emit(p.SumChannels, channels=1)
    yield "Slice", emit(p.Slice, channels=2, start=1)
    yield "FilterConv", emit(p.FilterConv, filter=1)
    if kind == "vector":
        yield "SumComponents", emit(p.SumComponents, components=1)
        direction = p.Direction.DIVERGENCE
        yield "divergence", emit(p.FilterConv, components=1, filter=1, direction=direction)
    else:
        direction = p.Direction.GRADIENT
        yield "gradient", emit(p.FilterConv, components=3, filter=1, direction=direction)


_NAMES = ("weight", "bias")


def _binary(operation: type, *kinds: str) -> Maker:
    def maker(builder, start):
        x, y = (getattr(start, kind) for kind in kinds)
        if x != y:
            y = builder.emit(p.SumChannels, builder.registers[y]._replace(channels=1), x=y)
        shape = broadcast(builder.registers[x], builder.registers[y])
        return builder.emit(operation, shape, x=x, y=y)

    return maker


def _concatenate(*kinds: str) -> Maker:
    def maker(builder, start):
        x, y = (getattr(start, kind) for kind in kinds)
        shape = p.Register(6, builder.registers[x].components)
        return builder.emit(p.Concatenate, shape, x=x, y=y)

    return maker


def _residual(*kinds: str) -> Maker:
    def maker(builder, start):
        x, residual = (getattr(start, kind) for kind in kinds)
        weight, shape = builder.parameter(3, 3), builder.registers[x]
        return builder.emit(p.Linear, shape, x=x, weight=weight, residual=residual)

    return maker


def _activation(function: p.Function) -> Maker:
    def maker(builder, start):
        x, register = start.scalar, builder.registers[start.scalar]
        x = builder.activation(x, p.Function.TANH)
        positive = builder.emit(p.Affine, register, x=x, scale=1.0, shift=1.5)
        return builder.activation(positive, function)

    return maker
