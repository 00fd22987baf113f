"""One .safetensors file per model: weights, and a JSON header that says how to build it."""

import hashlib
import importlib
import json
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from schnetgeo._version import __version__
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_write
from schnetgeo.nn.configurable import Configurable
from schnetgeo.user_code import checked_class

FORMAT = 1
_FIELDS = {
    "version": str, "class": str, "hyperparameters": dict, "filters": str, "dtype": str,
    "notes": dict, "targets": list,
}  # fmt: skip
UNITS = {"length": "Angstrom"}  # those of the targets are stated with them
_TRUSTED = ("schnetgeo.", "torch.nn.modules.")


def write_model(path: str | os.PathLike, header: dict, tensors: dict[str, Tensor]) -> None:
    """Write header and weights; a file that is there is replaced only when the new one is whole."""
    # copies, because safetensors refuses tensors that share memory, such as tied weights
    tensors = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
    text = json.dumps({"format": FORMAT, "version": __version__, **header})
    metadata = {"schnetgeo": text, "sha256": _digest(text, tensors)}
    atomic_write(path, _in_order(save(tensors, metadata=metadata)))


def read_model(path: str | os.PathLike) -> tuple[dict, dict[str, Tensor]]:
    """Header and weights of a model file; runs no pickle.

    Raises:
        InputError: for a file that is missing, cut short, changed, or of another kind.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; give a model written by Potential.save")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: not a whole .safetensors file ({error}); give one written by Potential.save"
        ) from None
    except RuntimeError as error:  # sizes that no tensor has
        raise InputError(f"{path}: holds tensors that cannot be read ({error})") from None
    text = metadata.get("schnetgeo")
    if text is None:
        raise InputError(f"{path}: a .safetensors file, but not one of schnetgeo's models")
    if metadata.get("sha256") != _digest(text, tensors):
        raise InputError(f"{path}: header or weights were changed after saving; get a fresh copy")
    return _checked(text, path), tensors


def changed_header(path: str | os.PathLike, name: str, value, rule: str) -> InputError:
    """What is raised where the header of a file is none that `write_model` writes."""
    return InputError(
        f"{path}: a model file with a changed header: {name} = {value!r:.50} is no {rule}; get a "
        "fresh copy"
    )


def _checked(text: str, path: str | os.PathLike) -> dict:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise changed_header(path, "the header", text, "JSON object")
    version = header.get("format")
    if not isinstance(version, int):
        raise changed_header(path, "format", version, "whole number")
    if version > FORMAT:
        raise InputError(
            f"{path}: written by schnetgeo {header.get('version')} in format {version}, this "
            f"version reads up to {FORMAT}; upgrade"
        )
    for name, kind in _FIELDS.items():
        if not isinstance(header.get(name), kind):
            raise changed_header(path, name, header.get(name), kind.__name__)
    if header.get("units") != UNITS:
        raise changed_header(path, "units", header.get("units"), f"{UNITS}")
    dtype = getattr(torch, header["dtype"], None)
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise changed_header(path, "dtype", header["dtype"], "floating-point type of torch")
    return header


def _in_order(content: bytes) -> bytes:
    """The same file with a sorted header: safetensors writes metadata in an order that varies."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # so that the numbers stay aligned
    return len(header).to_bytes(8, "little") + header + content[end:]


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for key in sorted(tensors):
        digest.update(f"{key} {tuple(tensors[key].shape)} {tensors[key].dtype}".encode())
        digest.update(tensors[key].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def class_name(cls: type) -> str:
    """The dotted path of a class."""
    return f"{cls.__module__}.{cls.__qualname__}"


def encode(value):
    """A hyperparameter as JSON.

    That is possible for numbers, strings, booleans, `None`, classes, `functools.partial` of a
    class with keyword arguments, and `Configurable` modules, with hyperparameters of these kinds.
    """
    if isinstance(value, type):
        return {"class": class_name(value)}
    if isinstance(value, partial) and isinstance(value.func, type) and not value.args:
        return {"class": class_name(value.func), "arguments": _encoded(value.keywords)}
    if isinstance(value, Configurable):
        name = class_name(type(value))
        return {"class": name, "hyperparameters": _encoded(value.hyperparameters)}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InputError(
        f"hyperparameter {value!r:.50} of the model is neither number, string, class, "
        "functools.partial of a class with keyword arguments, nor a schnetgeo.nn.Configurable; "
        "pass one of these"
    )


def _encoded(values: dict) -> dict:
    return {name: encode(value) for name, value in values.items()}


def decode(value, known: dict[str, type], path):
    """The inverse of `encode`, for hyperparameters of its types and no others."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict) and value.keys() <= {"class", "arguments", "hyperparameters"}:
        cls, arguments = find_class(value.get("class"), known, path), value.get("arguments")
        hyperparameters = value.get("hyperparameters")
        if arguments is None and hyperparameters is None:
            return cls
        if isinstance(arguments, dict) and hyperparameters is None:
            return partial(cls, **_decoded(arguments, known, path))
        if isinstance(hyperparameters, dict) and arguments is None:
            return cls(**_decoded(hyperparameters, known, path))
    raise changed_header(path, "a hyperparameter", value, "number, string or class")


def _decoded(values: dict, known: dict[str, type], path) -> dict:
    return {name: decode(value, known, path) for name, value in values.items()}


def named(classes: Iterable[type]) -> dict[str, type]:
    """The user's classes by their names.

    Raises:
        InputError: if one is no `torch.nn.Module`: it would be called with a file's arguments.
    """
    classes = [checked_class(cls, f"classes: {cls!r:.100}") for cls in classes]
    return {cls.__name__: cls for cls in classes}


def find_class(name: str, known: dict[str, type], path: str | os.PathLike) -> type:
    """The class that a file names: one of this package, of torch.nn, or of `known`."""
    if not isinstance(name, str):
        raise changed_header(path, "class", name, "name of a class")
    module, _, short = name.rpartition(".")
    if not name.startswith(_TRUSTED):
        if short in known:
            return known[short]
        if not all(part.isidentifier() for part in name.replace(".<locals>", "").split(".")):
            raise changed_header(path, "class", name, "name of a class")
        raise InputError(
            f"{path}: needs the class {name:.200}, which is not part of schnetgeo; if it is your "
            f"own, import it and pass classes=[{short:.100}], or on the command line --classes "
            f"{name:.200}"
        )
    try:
        cls = getattr(importlib.import_module(module), short, None)
    except (ImportError, ValueError):
        cls = None
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise InputError(f"{path}: names {name:.200}, which this version does not have")
    return cls


def check_finite(model: nn.Module, path: str | os.PathLike) -> None:
    """Raise `InputError` unless all parameters are finite and no buffer holds NaN."""
    parameters = ((name, value, value.isfinite().all()) for name, value in model.named_parameters())
    buffers = ((name, value, not value.isnan().any()) for name, value in model.named_buffers())
    for name, value, sound in (*parameters, *buffers):
        if not sound:
            number = value.detach()[~value.isfinite()].flatten()[0]
            raise InputError(
                f"{path}: {name} holds {float(number)}: the training of this model has diverged; "
                "take an earlier model, or train again with a smaller step size"
            )
