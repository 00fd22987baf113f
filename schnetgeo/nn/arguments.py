"""What arguments of models must be, said before anything is built or when a part is."""

import inspect
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real

from torch import nn

from schnetgeo.errors import InputError
from schnetgeo.nn.conv import RadialConv
from schnetgeo.nn.readout import Readout

_COUNTS = ("channels", "num_layers", "num_basis", "readout_channels", "max_z")
_LENGTHS = {"cutoff": "Å", "gamma": "Å⁻²"}
_SWITCHES = ("filter_last_activation", "in_bias", "zero_init")
_OPTIONAL = ("readout_channels", "gamma")
_OF_GAUSSIANS = ("num_basis", "gamma")  # arguments of a model that a basis replaces
_NAMES = {
    "x", "x_i", "x_j", "v", "v_i", "v_j", "edge_attr", "edge_unit", "edge_weight", "W",
    *RadialConv.special_args,
}  # fmt: skip


def check_arguments(cls: type, arguments: dict) -> None:
    """Raise `InputError` for a number or switch that breaks its rule, and for a contradiction.

    Args:
        cls: class of the model.
        arguments: of its `__init__`, all of them.
    """
    for name, value in arguments.items():
        if value is None and name in _OPTIONAL:
            continue
        if name in _COUNTS:
            if isinstance(value, bool) or not isinstance(value, Integral):
                raise InputError(f"{name} must be a whole number, got {value!r:.60}")
            if value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")
        elif name in _LENGTHS and (isinstance(value, bool) or not isinstance(value, Real)):
            raise InputError(f"{name} must be a number in {_LENGTHS[name]}, got {value!r:.60}")
        elif name in _SWITCHES and not isinstance(value, bool):
            raise InputError(f"{name} must be True or False, got {value!r:.60}")
    if arguments.get("conv") is not None and arguments.get("filter_last_activation"):
        raise InputError(
            f"filter_last_activation belongs to CFConv, but conv is {_name(arguments['conv'])}; "
            "leave one"
        )
    _check_basis(cls, arguments)


def _check_basis(cls: type, arguments: dict) -> None:
    basis, usual = arguments.get("basis"), inspect.signature(cls.__init__).parameters
    for name in _OF_GAUSSIANS if basis is not None else ():
        if name not in arguments:
            continue
        value = arguments[name]
        if value not in (usual[name].default, getattr(basis, name, None)):
            raise InputError(
                f"{name}={value!r:.60} has no effect beside basis, which is {_shown(basis):.60}; "
                f"leave {name} out, or build the basis with it"
            )


def with_changes(arguments: dict, changes: dict) -> dict:
    """Arguments of a model after changes, without those of Gaussians where the basis is another."""
    if changes.get("basis") is not None:
        arguments = {k: v for k, v in arguments.items() if k not in _OF_GAUSSIANS}
    return {**arguments, **changes}


def basis_of(basis: nn.Module | None, usual: Callable, *sizes) -> nn.Module:
    """The radial basis functions: those that were passed, or usual(*sizes)."""
    if basis is None:
        return usual(*sizes)
    number = getattr(basis, "num_basis", None)
    if not (isinstance(basis, nn.Module) and isinstance(number, Integral)):
        raise InputError(
            f"basis must be a module with an attribute num_basis, got {basis!r:.80}; pass an "
            "object, such as BesselBasis(8, 5.0)"
        )
    return basis


def cutoff_fn_of(cutoff_fn: object, cutoff: float) -> nn.Module:
    """The cutoff function: an object, or what its class gives for the cutoff."""
    if isinstance(cutoff_fn, nn.Module):
        return cutoff_fn
    return part("cutoff_fn", cutoff_fn, nn.Module, cutoff)


def part(name: str, cls: Callable, base: type[nn.Module], *sizes) -> nn.Module:
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
        call = f"{name}({', '.join(map(_shown, sizes)):.80})"
        raise InputError(
            f"{rule} that can be built as {call}, but {_name(cls)} cannot: {error}"
        ) from error
    if not isinstance(module, base):
        raise InputError(f"{rule}, got {_name(cls)}; derive a class from {base.__name__}")
    return module


def readout_of(readout: object, has_vectors: bool, *sizes) -> Readout:
    """The readout that readout(*sizes) builds for a model with vector features, or without."""
    module = part("readout", readout, Readout, *sizes)
    if module.needs_vectors and not has_vectors:
        raise InputError(
            f"readout: {_name(readout)} needs vector features, which this model does not have; "
            "take a model that has, such as PaiNN, or another readout"
        )
    return module


def layer(conv: object, channels: int, num_basis: int) -> RadialConv:
    """The message-passing layer conv(channels, num_basis), or an `InputError`."""
    module = part("conv", conv, RadialConv, channels, num_basis)
    if type(module).forward is not RadialConv.forward:
        return module  # it passes to its message what it likes
    parameters = inspect.signature(module.message).parameters.values()
    required = [p for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    asked = {p.name for p in required}
    if "W" in asked and not hasattr(module, "filter"):
        raise InputError(
            f"{_name(conv)}.message takes W, but the layer has no module `filter` that makes it; "
            "set self.filter in __init__"
        )
    if not asked <= _NAMES:
        raise InputError(
            f"{_name(conv)}.message takes {', '.join(sorted(asked - _NAMES))}, but there are x_i, "
            "x_j, v_i, v_j, edge_attr, edge_unit, edge_weight and W; see RadialConv"
        )
    return module


def _name(cls: object) -> str:
    cls = cls.func if isinstance(cls, partial) else cls
    return getattr(cls, "__name__", repr(cls))


def _shown(value: object) -> str:
    """A module or class by its name, anything else as Python writes it."""
    if isinstance(value, nn.Module):
        return type(value).__name__
    return value.__name__ if isinstance(value, type) else repr(value)
