"""Which implementation of the spline operators runs where."""

import functools
import importlib
import importlib.util
import warnings
from types import ModuleType

import torch


def kernels(like: torch.Tensor) -> ModuleType:
    """The module that computes for tensors like this: Numba, Triton, or else plain torch."""
    compiled = like.dtype in (torch.float32, torch.float64)
    module = _kernels(like.device.type if compiled else "reference")
    if like.device.type == "cpu" and hasattr(module, "match_threads"):
        module.match_threads()
    return module


def kernels_on(device: torch.device) -> ModuleType:
    """The same for integers on a device."""
    return _kernels(device.type)


@functools.cache
def _kernels(device_type: str) -> ModuleType:
    modules = {"cpu": ("numba", "schnetgeo.ops.cpu"), "cuda": ("triton", "schnetgeo.ops.cuda")}
    if device_type in modules:
        package, module = modules[device_type]
        if importlib.util.find_spec(package) is not None:
            return importlib.import_module(module)
        warnings.warn(
            f"{package} is not installed, so spline filters run several times slower on "
            f"{device_type}; install {package}",
            stacklevel=4,
        )
    return importlib.import_module("schnetgeo.ops.reference")
