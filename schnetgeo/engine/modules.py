"""Modules whose forward cannot be read, whatever it computes."""

import torch
from torch import nn
from torch.nn.modules.module import _has_any_global_hook

from schnetgeo.engine.refusal import REMEDY

# hooks that run when a state is saved or loaded
_STATE_HOOKS = "state_dict"


def not_readable(model: nn.Module) -> str | None:
    """The reason why a model is not read, if hooks sit on it or it was compiled."""
    if _has_any_global_hook():
        return f"hooks sit on all modules, as those of profilers; {REMEDY}"
    for path, module in model.named_modules():
        name = f"{type(module).__name__}{f' ({path})' if path else ''}"
        if any(call_hooks(module)):
            return f"{name} has a hook; {REMEDY}"
        if getattr(module, "_compiled_call_impl", None) is not None or is_compiled(module):
            return f"{name} is compiled; {REMEDY}"
    tensors = [*model.parameters(), *model.buffers()]
    kinds = {(t.dtype, t.device) for t in tensors if t.is_floating_point()}
    if len(kinds) > 1:
        kinds = sorted(f"{dtype} on {device}" for dtype, device in kinds)
        return f"{type(model).__name__} has parameters in {' and '.join(kinds)}; {REMEDY}"
    if not kinds:
        return f"{type(model).__name__} has no parameters; {REMEDY}"
    trained = [
        f"{name}.{path}"
        for name in ("basis", "cutoff_fn")
        for path, parameter in getattr(model, name, nn.Identity()).named_parameters()
        if parameter.requires_grad
    ]
    if trained:
        return f"{trained[0]} is a parameter that trains, so filters move with it; {REMEDY}"
    return None


def call_hooks(module: nn.Module) -> list[dict]:
    """The dictionaries of hooks that run when a module is called."""
    return [
        value
        for name, value in vars(module).items()
        if name.endswith("_hooks") and _STATE_HOOKS not in name
    ]


def is_compiled(module: nn.Module) -> bool:
    """Whether a module's code is not Python's."""
    scripted = isinstance(module, torch.jit.ScriptModule)
    return scripted or type(module).__name__ == "OptimizedModule"
