"""Sentences that say where in a model something was met that no program says."""

from pathlib import Path
from types import TracebackType

from torch import nn

from schnetgeo.engine.lowering.values import NotLowered

REMEDY = "autograd runs the model"


def reason_of(model: nn.Module, error: Exception) -> str:
    """What raised while the model was read, in one line."""
    if isinstance(error, NotLowered):
        text = str(error)
    else:
        first = (str(error).strip().splitlines() or [""])[0]
        text = f"cannot run on tensors without numbers ({type(error).__name__}: {first})"
    return f"{_where(model, error.__traceback__)} {text}"


def _where(model: nn.Module, traceback: TracebackType | None) -> str:
    """The innermost function of a module of the model: class, path, file, line."""
    paths = {id(module): path for path, module in model.named_modules()}
    where = type(model).__name__
    while traceback is not None:
        frame = traceback.tb_frame
        module = frame.f_locals.get("self")
        if id(module) in paths and not _is_of_torch(frame.f_globals.get("__name__", "")):
            path = paths[id(module)]
            file = Path(frame.f_code.co_filename).name
            place = [path] * bool(path) + [f"{file} line {traceback.tb_lineno}"]
            where = f"{type(module).__name__}.{frame.f_code.co_name} ({', '.join(place)})"
        traceback = traceback.tb_next
    return where


def _is_of_torch(name: str) -> bool:
    return name.split(".")[0] in ("torch", "torch_geometric") or "torch_geometric" in name
