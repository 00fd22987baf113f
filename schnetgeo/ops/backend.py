"""Which backend of the spline operators runs where."""

import functools
import importlib
import importlib.util
import warnings

import torch

from schnetgeo.ops.protocol import Backend

_COMPILED = {"cpu": ("numba", "numba_backend"), "cuda": ("triton", "triton_backend")}


def get_backend(tensor: torch.Tensor) -> Backend:
    """What computes for tensors like this: Numba, Triton, or else plain torch."""
    is_half = tensor.dtype.is_floating_point and tensor.dtype not in (torch.float32, torch.float64)
    backend = _load("half" if is_half else tensor.device.type)
    if tensor.device.type == "cpu" and hasattr(backend, "match_threads"):
        backend.match_threads()
    return backend


@functools.cache
def _load(device_type: str) -> Backend:
    if device_type in _COMPILED:
        package, module = _COMPILED[device_type]
        if importlib.util.find_spec(package) is not None:
            return importlib.import_module(f"schnetgeo.ops.{module}")
        warnings.warn(
            f"{package} is not installed, so spline filters run several times slower on "
            f"{device_type}; install {package}",
            stacklevel=4,
        )
    return importlib.import_module("schnetgeo.ops.torch_backend")
