"""What SchNet's arguments must be, said before anything is built or when a part is."""

import inspect
from numbers import Integral, Real

from torch import nn

from schnetgeo.errors import InputError
from schnetgeo.nn.conv import CFConv, RadialConv

_OPTIONAL = ("readout_channels", "gamma", "spacing")
_NAMES = {"x", "x_i", "x_j", "edge_attr", "edge_weight", "W", *RadialConv.special_args}


def check_arguments(arguments: dict) -> None:
    """Raise `InputError` for a number, text or switch that breaks its rule."""
    for name in ("channels", "num_layers", "num_basis", "readout_channels", "max_z"):
        value = arguments[name]
        if value is None and name in _OPTIONAL:
            continue
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise InputError(f"{name} must be a whole number, got {value!r:.60}")
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    for name, unit in (("cutoff", "Å"), ("gamma", "Å⁻²"), ("spacing", "Å")):
        value = arguments[name]
        if value is None and name in _OPTIONAL:
            continue
        if isinstance(value, bool) or not isinstance(value, Real):
            raise InputError(f"{name} must be a number in {unit}, got {value!r:.60}")
    for name in ("filter_last_activation", "in_bias", "zero_init"):
        if not isinstance(arguments[name], bool):
            raise InputError(f"{name} must be True or False, got {arguments[name]!r:.60}")
    if arguments["filters"] not in ("spline", "exact"):
        raise InputError(f"unknown filters {arguments['filters']!r:.60}; known: spline, exact")
    conv = arguments["conv"]
    if conv is not None and arguments["filter_last_activation"]:
        raise InputError(
            "filter_last_activation belongs to CFConv, but conv is "
            f"{getattr(conv, '__name__', conv)}; leave one"
        )


def part(name: str, cls: object, base: type[nn.Module], *sizes) -> nn.Module:
    """What an argument that is a class builds, or an `InputError` that says what it must be."""
    kind = "torch.nn.Module" if base is nn.Module else f"schnetgeo.nn.{base.__name__}"
    rule = f"{name} must be a subclass of {kind}"
    if isinstance(cls, nn.Module) or not callable(cls):
        raise InputError(f"{rule}, got {cls!r:.80}; pass the class itself, not an instance or name")
    if isinstance(cls, type) and not issubclass(cls, base):
        raise InputError(f"{rule}, got {_name(cls)}; derive a class from {base.__name__}")
    try:
        module = cls(*sizes)
    except (TypeError, AttributeError) as error:
        called = ", ".join(map(repr, sizes))
        raise InputError(
            f"{rule} that can be built as {name}({called:.80}), but {_name(cls)} cannot: {error}"
        ) from error
    if not isinstance(module, base):
        raise InputError(f"{rule}, got {_name(cls)}; derive a class from {base.__name__}")
    return module


def layer(conv: object, channels: int, num_basis: int) -> RadialConv:
    """The message-passing layer conv(channels, num_basis), or an `InputError`."""
    built = part("conv", conv, RadialConv, channels, num_basis)
    if type(built).forward not in (RadialConv.forward, CFConv.forward):
        return built  # it passes to its message what it likes
    parameters = inspect.signature(built.message).parameters.values()
    required = [p for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    asked = {p.name for p in required}
    if "W" in asked and not hasattr(built, "filter"):
        raise InputError(
            f"{_name(conv)}.message takes W, but the layer has no module `filter` that makes it; "
            "set self.filter in __init__"
        )
    if not asked <= _NAMES:
        raise InputError(
            f"{_name(conv)}.message takes {', '.join(sorted(asked - _NAMES))}, but there are x_i, "
            "x_j, edge_attr, edge_weight and W; see RadialConv"
        )
    return built


def _name(cls: object) -> str:
    return getattr(cls, "__name__", repr(cls))
