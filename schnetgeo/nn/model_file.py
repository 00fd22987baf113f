"""One .safetensors file per model: weights, and a JSON header that says how to build it."""

import hashlib
import importlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from schnetgeo._version import __version__
from schnetgeo.errors import InputError
from schnetgeo.files import write_whole

FORMAT = 1
_FIELDS = {"version": str, "class": str, "arguments": dict, "dtype": str, "notes": dict}
UNITS = {"energy": "eV", "length": "Angstrom", "forces": "eV/Angstrom"}
_TRUSTED = ("schnetgeo.", "torch.nn.modules.")


def write_model(path: str | os.PathLike, header: dict, tensors: dict[str, Tensor]) -> None:
    """Write header and weights; a file that is there is replaced only when the new one is whole."""
    # copies, because safetensors refuses tensors that share memory, such as tied weights
    tensors = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in tensors.items()}
    text = json.dumps({"format": FORMAT, "version": __version__, **header}, sort_keys=True)
    metadata = {"schnetgeo": text, "sha256": _digest(text, tensors)}
    write_whole(path, save(tensors, metadata=metadata))


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
    except ValueError:
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
    """A model's argument as JSON: numbers, strings, booleans, `None`, and classes by name."""
    if isinstance(value, type):
        return {"class": class_name(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise InputError(f"argument {value!r} of the model is neither number, string nor class")


def decode(value, known: dict[str, type], path):
    """The inverse of `encode`."""
    return find_class(value.get("class"), known, path) if isinstance(value, dict) else value


def find_class(name: str, known: dict[str, type], path: str | os.PathLike) -> type:
    """The class that a file names: one of this package, of torch.nn, or of `known`."""
    if not isinstance(name, str):
        raise changed_header(path, "class", name, "name of a class")
    module, _, short = name.rpartition(".")
    if not name.startswith(_TRUSTED):
        if short in known:
            return known[short]
        raise InputError(
            f"{path}: needs the class {name}, which is not part of schnetgeo; import it and pass "
            f"classes=[{short}], or on the command line --classes {name}"
        )
    try:
        found = getattr(importlib.import_module(module), short, None)
    except ImportError:
        found = None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(f"{path}: names {name}, which this version does not have")
    return found
