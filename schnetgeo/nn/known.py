"""Which modules a fast path may stand for: those of known classes that nobody changed or watches.

A fast path computes what the package wrote. It knows a module by its exact class, so a subclass, a
function put on an instance or a class, a hook, or an option that is not the usual one is not known.
"""

import functools
from operator import attrgetter

import torch
from torch import nn
from torch.nn.modules.module import _has_any_global_hook

from schnetgeo.nn.mlp import ShiftedSoftplus

# smooth functions of each number alone, and the options with which they are
_ACTIVATIONS = {
    ShiftedSoftplus: {},
    nn.Identity: {},
    nn.LogSigmoid: {},
    nn.Sigmoid: {},
    nn.Tanh: {},
    nn.Tanhshrink: {},
    nn.GELU: {"approximate": "none"},
    nn.Mish: {"inplace": False},
    nn.SiLU: {"inplace": False},
    nn.Softplus: {"beta": 1.0, "threshold": 20.0},
}
_FUNCTIONS = frozenset(
    (
        "forward", "__call__", "_call_impl", "message", "aggregate", "update", "atomic_values",
        "edge_features", "atom_weights",
    )
)  # fmt: skip


class Written:
    """The functions of a class as they are now, to tell later whether somebody replaced one.

    Args:
        cls: a class of modules that a fast path stands for.
    """

    def __init__(self, cls: type[nn.Module]):
        self._functions_of = attrgetter(*(name for name in _FUNCTIONS if hasattr(cls, name)))
        self._functions = self._functions_of(cls)

    def has(self, cls: type[nn.Module]) -> bool:
        """Whether the class, or a subclass, has the same functions."""
        return self._functions_of(cls) == self._functions


_WRITTEN = {cls: Written(cls) for cls in (*_ACTIVATIONS, nn.Embedding, nn.Linear, nn.Sequential)}


def is_patched(module: nn.Module) -> bool:
    """Whether a function was replaced on this instance."""
    return not vars(module).keys().isdisjoint(_FUNCTIONS)


def is_plain(module: nn.Module) -> bool:
    """Whether no function was replaced on this instance, and no hook sits on it."""
    own = vars(module)
    return own.keys().isdisjoint(_FUNCTIONS) and not (
        own["_forward_hooks"]
        or own["_forward_pre_hooks"]
        or own["_backward_hooks"]
        or own["_backward_pre_hooks"]
    )


def is_autocast(device: torch.device) -> bool:
    """Whether operations on the device run in a smaller type than that of the weights."""
    kind = device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def all_are_watched() -> bool:
    """Whether hooks sit on all modules, as those of profilers."""
    return _has_any_global_hook()


def is_known(module: nn.Module, cls: type[nn.Module]) -> bool:
    """Whether a layer of torch is exactly of this class, which nobody changed."""
    return type(module) is cls and _WRITTEN[cls].has(cls)


def are_written(classes: set[type[nn.Module]]) -> bool:
    """Whether nobody replaced a function of those of the classes that are torch's."""
    return all(_WRITTEN[cls].has(cls) for cls in classes & _WRITTEN.keys())


def has_options(module: nn.Module) -> bool:
    """Whether a smooth activation has options that may be written to."""
    return bool(_ACTIVATIONS[type(module)])


def is_smooth(module: nn.Module) -> bool:
    """Whether a module is a smooth activation that acts on each number alone."""
    cls = type(module)
    options = _ACTIVATIONS.get(cls)
    if options is None or not _WRITTEN[cls].has(cls):
        return False
    return all(getattr(module, name) == value for name, value in options.items())


def is_smooth_network(module: nn.Module) -> bool:
    """Whether a network of dense layers and smooth activations may be evaluated on knots.

    Hooks may sit on it: they see the knots.
    """
    if is_patched(module):
        return False
    if is_known(module, nn.Sequential):
        return all(is_smooth_network(part) for part in module)
    return is_known(module, nn.Linear) or is_smooth(module)


@functools.cache
def adds_nothing(cls: type, base: type) -> bool:
    """Whether a class was defined as `base` but for its `__init__`."""
    return issubclass(cls, base) and not overridden(cls, base)


def overridden(cls: type, base: type) -> tuple[str, ...]:
    """Names of functions, besides `__init__`, that a subclass of `base` has of its own."""
    between = cls.__mro__[: cls.__mro__.index(base)]
    functions = [(name, value) for c in between for name, value in vars(c).items()]
    return tuple(name for name, value in functions if not _is_harmless(name, value))


def _is_harmless(name: str, value: object) -> bool:
    if name == "__init__" or name.startswith(("_orig_", "_jinja_")):
        return True
    generated = getattr(value, "__module__", "").endswith(("_propagate", "_edge_updater"))
    function = callable(value) or isinstance(value, property | staticmethod | classmethod)
    return generated or not function
