"""Everything that the code of a model may read: attributes, containers, classes, and globals."""

import functools
from collections.abc import Callable
from operator import itemgetter
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
)

from torch import Tensor, autograd, nn

# code of these reads no state that changes, and their objects are no part of a formula
_LIBRARIES = {"torch", "torch_geometric", "schnetgeo", "numpy", "math", "builtins", "typing"}
_LIBRARIES |= {"jaxtyping", "collections", "functools", "re", "enum", "logging", "pathlib"}
_ATOMS = (type(None), bool, int, float, complex, str, bytes, range, slice, BuiltinFunctionType)
_MOST = 20_000


class Contents:
    """Collects what may change in a model, beside a shallow copy of each.

    Args:
        model: to look into.

    Attributes:
        modules: of the model, and those in attributes.
        live: dictionaries, lists and sets that are in use.
        copies: what was in each.
        bindings: functions that read globals and closures.
        unwatchable: what was met that cannot be compared, or `None`.
    """

    def __init__(self, model: nn.Module):
        self.modules: list[nn.Module] = []
        self.live: list[dict | list | set | MappingProxyType] = []
        self.copies: list[dict | list | set] = []
        self.bindings: list[Callable[[], object]] = []
        self.unwatchable: str | None = None
        self._seen: dict[int, object] = {}  # with the objects, so that no id is used again
        for path, module in model.named_modules():
            self._add_module(module, f"{type(module).__name__}{f' ({path})' if path else ''}")

    def _add_module(self, module: nn.Module, name: str) -> None:
        if self._is_seen(module):
            return
        self.modules.append(module)
        self._add_copy(vars(module))
        self._add_copy(module._modules)
        self._add_class(type(module))
        for key, value in vars(module).items():
            if not (key.endswith("_hooks") or key in _OF_TORCH):
                self._add(value, f"{name}.{key}")
        for child in module._modules.values():
            if child is not None:
                self._add_module(child, name)

    def _add(self, value: object, name: str) -> None:
        if isinstance(value, nn.Module):
            self._add_module(value, name)
        elif isinstance(value, type):
            self._add_class(value)
        elif isinstance(value, _ATOMS) or self._is_seen(value):
            return
        elif len(self._seen) > _MOST:
            self.unwatchable = f"{name} leads to more than {_MOST:,} objects"
        elif isinstance(value, FunctionType):
            self._add_function(value, name)
        elif isinstance(value, MethodType):
            self._add(value.__func__, name)
            self._add(value.__self__, name)
        elif isinstance(value, functools.partial):
            self._add_all((value.func, *value.args, *value.keywords.values()), name)
        elif isinstance(value, dict):
            self._add_copy(value)
            self._add_all(value.values(), name)
        elif isinstance(value, list | set):
            self._add_copy(value)
            self._add_all(value, name)
        elif isinstance(value, tuple | frozenset):
            self._add_all(value, name)
        elif not isinstance(value, Tensor | ModuleType) and not _is_of_library(type(value)):
            self._add_object(value, name)

    def _add_all(self, values, name: str) -> None:
        for value in values:
            self._add(value, name)

    def _add_object(self, value: object, name: str) -> None:
        self._add_class(type(value))
        if not hasattr(value, "__dict__"):
            self.unwatchable = f"{name} is a {type(value).__name__}, which may change unseen"
            return
        self._add(vars(value), name)

    def _add_class(self, cls: type) -> None:
        for base in cls.__mro__[:-1]:
            if self._is_seen(base) or base.__module__ in ("builtins", "abc", "typing"):
                continue
            if issubclass(base, autograd.Function) and not _is_of_library(base):
                self.unwatchable = f"{base.__name__} is an autograd.Function"
            self._add_copy(vars(base))
            if not _is_of_library(base):
                for key, value in vars(base).items():
                    value = _function_of(value)
                    is_slot = hasattr(value, "__get__") and not isinstance(value, FunctionType)
                    if key != "__init__" and not key.startswith("_abc") and not is_slot:
                        self._add(value, f"{base.__name__}.{key}")

    def _add_function(self, function: FunctionType, name: str) -> None:
        """Globals, closure, and defaults of a function that is not a library's."""
        function = getattr(function, "__wrapped__", function)
        if _is_of_library(function) or not isinstance(function, FunctionType):
            return
        for cell in function.__closure__ or ():
            self.bindings.append(functools.partial(getattr, cell, "cell_contents", None))
            self._add(getattr(cell, "cell_contents", None), name)
        self._add_all(function.__defaults__ or (), name)
        self._add_all((function.__kwdefaults__ or {}).values(), name)
        names = {key for key in _names(function.__code__) if key in function.__globals__}
        self._add_bindings(function.__globals__, names, name)
        for key in names:
            value = function.__globals__[key]
            if isinstance(value, ModuleType) and not _is_of_library(value):
                parts = {part for part in _names(function.__code__) if part in vars(value)}
                self._add_bindings(vars(value), parts, name)

    def _add_bindings(self, scope: dict, names: set[str], name: str) -> None:
        if names:
            self.bindings.append(functools.partial(itemgetter(*sorted(names)), scope))
        for key in names:
            self._add(scope[key], f"{name}: {key}")

    def _add_copy(self, live) -> None:
        self.live.append(live)
        self.copies.append(dict(live) if isinstance(live, MappingProxyType) else live.copy())

    def _is_seen(self, value: object) -> bool:
        if id(value) in self._seen:
            return True
        self._seen[id(value)] = value
        return False


_OF_TORCH = frozenset(vars(nn.Module())) - {"training"}


def _function_of(value: object) -> object:
    """The function in a property, a static method, or a class method."""
    return getattr(value, "__func__", getattr(value, "fget", value))


def _names(code: CodeType) -> set[str]:
    """Names of globals and attributes that code uses, with the functions inside it."""
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _is_of_library(thing: object) -> bool:
    name = getattr(thing, "__module__", None) or getattr(thing, "__name__", "")
    return isinstance(name, str) and name.split(".")[0] in _LIBRARIES
