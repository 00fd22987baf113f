"""Models that are not read, whatever their forward computes."""

import torch
from torch import nn
from torch.nn.modules.module import _has_any_global_hook

from schnetgeo.nn.model import AtomisticModel

# the engine computes what these do before and after `atomic_values`
_METHODS = "forward", "edge_features"


def unreadable(model: nn.Module) -> str | None:
    """The reason why a model is not read, or `None`."""
    return (
        _own_methods(model)
        or _reads_states(model)
        or _hooks_or_compiled(model)
        or _mixed_tensors(model)
        or _trained_basis(model)
    )


def call_hooks(module: nn.Module) -> list[dict]:
    """The dictionaries of hooks that run when a module is called."""
    return [
        value
        for name, value in vars(module).items()
        if name.endswith("_hooks") and "state_dict" not in name
    ]


def radial_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters of the functions of the distance: by those that train, knots would move."""
    parts = {name: getattr(model, name, None) for name in ("basis", "cutoff_fn")}
    return {
        f"{name}.{path}": parameter
        for name, part in parts.items()
        if isinstance(part, nn.Module)
        for path, parameter in part.named_parameters()
    }


def _own_methods(model: nn.Module) -> str | None:
    if not isinstance(model, AtomisticModel):
        return f"{type(model).__name__} is no AtomisticModel"
    for name in _METHODS:
        if getattr(type(model), name) is not getattr(AtomisticModel, name) or name in vars(model):
            return f"{type(model).__name__}.{name} is not that of AtomisticModel"
    return None


def _reads_states(model: AtomisticModel) -> str | None:
    if model.state_embedding is None:
        return None
    return f"{type(model).__name__} has a state_embedding, which shares charge and spin out"


def _hooks_or_compiled(model: nn.Module) -> str | None:
    if _has_any_global_hook():
        return "hooks sit on all modules, as those of profilers"
    for path, module in model.named_modules():
        name = f"{type(module).__name__}{f' ({path})' if path else ''}"
        if any(call_hooks(module)):
            return f"{name} has a hook"
        scripted = isinstance(module, torch.jit.ScriptModule)
        if scripted or module._compiled_call_impl or type(module).__name__ == "OptimizedModule":
            return f"{name} is compiled"
    return None


def _mixed_tensors(model: AtomisticModel) -> str | None:
    tables = {id(t) for t in model.basis.buffers()}  # which knots evaluate in float64
    tensors = (t for t in (*model.parameters(), *model.buffers()) if id(t) not in tables)
    kinds = {(t.dtype, t.device) for t in tensors if t.is_floating_point()}
    if len(kinds) == 1:
        return None
    kinds = " and ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
    return f"{type(model).__name__} has parameters in {kinds or 'no dtype'}"


def _trained_basis(model: AtomisticModel) -> str | None:
    for path, parameter in radial_parameters(model).items():
        if parameter.requires_grad:
            return f"{path} is a parameter that trains"
    return None
