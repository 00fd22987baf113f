"""Whether a model is what its class and its `hyperparameters` build, but for its weights.

A model file holds no code, so parts that were put into a model later would be lost.
"""

import inspect
from collections.abc import Iterator

import torch
from torch import nn

from schnetgeo.errors import InputError
from schnetgeo.nn.configurable import Configurable
from schnetgeo.potential.model_file import encode

_PLAIN = (bool, int, float, complex, str, tuple, type, type(None), torch.dtype)
_PACKAGES = ("schnetgeo.", "torch.nn.modules.")


def check_rebuilds(model: nn.Module, dtype: torch.dtype) -> None:
    """Raise `InputError` where a model that a file builds would be another one.

    Args:
        model: with `hyperparameters`, the dictionary of what it was built with.
        dtype: of its numbers.
    """
    name = type(model).__name__
    twin = _build(model).to(dtype)
    parts, others = _parts(model), _parts(twin)
    if parts.keys() != others.keys():
        where = sorted(parts.keys() ^ others.keys())[0]
        raise _changed(name, f"module {where} was {'added' if where in parts else 'removed'}")
    for path, part in parts.items():
        for difference in _differences(part, others[path]):
            raise _changed(name, f"{path or 'the model'}: {difference}")
    if _shared(parts) != _shared(others):
        raise _changed(name, "a module stands in several places")


def _changed(name: str, what: str) -> InputError:
    return InputError(
        f"the model was changed after it was built, which a model file cannot hold: {what}; write "
        f"a class whose __init__ builds it so, or give {name} other arguments"
    )


def _build(model: nn.Module) -> nn.Module:
    values, name = getattr(model, "hyperparameters", None), type(model).__name__
    if not isinstance(values, dict):
        raise InputError(
            f"{name} has no attribute `hyperparameters`, the dictionary of what it was built with, "
            "without which it cannot be saved; derive the class from schnetgeo.nn.AtomisticModel"
        )
    for value in values.values():
        encode(value)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.inference_mode(False):
            return type(model)(**_rebuilt(values))
    except Exception as error:  # a class fails in its own way on arguments it does not expect
        raise InputError(
            f"{name}(**model.hyperparameters) fails ({error}), so that the model cannot be saved; "
            "keep in `hyperparameters` what __init__ takes"
        ) from None


def _rebuilt(values: dict) -> dict:
    """The same values with new modules in place of modules, as a file gives them."""
    return {
        name: type(value)(**_rebuilt(value.hyperparameters))
        if isinstance(value, Configurable)
        else value
        for name, value in values.items()
    }


def _parts(model: nn.Module) -> dict[str, nn.Module]:
    return dict(model.named_modules(remove_duplicate=False))


def _shared(parts: dict[str, nn.Module]) -> list[str]:
    """The first place of the module in each place."""
    first: dict[int, str] = {}
    return [first.setdefault(id(part), path) for path, part in parts.items()]


def _differences(part: nn.Module, other: nn.Module) -> Iterator[str]:
    if type(part) is not type(other):
        yield f"a {type(part).__name__} instead of {type(other).__name__}"
    if _is_patched(part) and not _is_patched(other):
        yield "a function was replaced"
    for name in sorted({*_sizes(part).items()} ^ {*_sizes(other).items()}):
        shapes = _sizes(part).get(name[0]), _sizes(other).get(name[0])
        yield f"{name[0]} has shape {shapes[0]} instead of {shapes[1]}"
    for name in sorted(part._non_persistent_buffers_set & other._non_persistent_buffers_set):
        ours, theirs = part._buffers[name], other._buffers[name]
        if ours is not None and theirs is not None and not torch.equal(ours.cpu(), theirs):
            yield f"{name}, which is not saved, has other numbers"
    for name in sorted(_options(part)):
        ours, theirs = (vars(m).get(name) for m in (part, other))
        if all(isinstance(value, _PLAIN) for value in (ours, theirs)) and ours != theirs:
            yield f"{name} is {ours!r:.60} instead of {theirs!r:.60}"


def _sizes(part: nn.Module) -> dict[str, tuple[int, ...]]:
    tensors = {**part._parameters, **part._buffers}
    return {name: tuple(t.shape) for name, t in tensors.items() if t is not None}


def _options(part: nn.Module) -> set[str]:
    """Attributes that say what a module computes; others of a user's class may be counters."""
    names = {name for name in vars(part) if not name.startswith("_")} - {"training"}
    if type(part).__module__.startswith(_PACKAGES):
        return names
    return names & {"cutoff", "max_z", *inspect.signature(type(part).__init__).parameters}


def _is_patched(module: nn.Module) -> bool:
    """Whether a function was put on this instance in place of its class's."""
    names = (name for name in vars(module) if callable(getattr(type(module), name, None)))
    return any(not name.startswith("_") for name in names)
