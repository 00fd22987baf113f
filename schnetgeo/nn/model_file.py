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
        raise InputError(f"{path}: not a whole .safetensors file ({error})") from None
    text = metadata.get("schnetgeo")
    if text is None:
        raise InputError(f"{path}: a .safetensors file, but not one of schnetgeo's models")
    if metadata.get("sha256") != _digest(text, tensors):
        raise InputError(f"{path}: header or weights were changed after saving; get a fresh copy")
    header = json.loads(text)
    if header["format"] > FORMAT:
        raise InputError(
            f"{path}: written by schnetgeo {header['version']} in format {header['format']}, this "
            f"version reads up to {FORMAT}; upgrade"
        )
    return header, tensors


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
    return find_class(value["class"], known, path) if isinstance(value, dict) else value


def find_class(name: str, known: dict[str, type], path: str | os.PathLike) -> type:
    """The class that a file names: one of this package, of torch.nn, or of `known`."""
    module, _, short = name.rpartition(".")
    if not name.startswith(_TRUSTED):
        if short in known:
            return known[short]
        raise InputError(
            f"{path}: needs the class {name}, which is not part of schnetgeo; import it and pass "
            f"classes=[{short}]"
        )
    try:
        found = getattr(importlib.import_module(module), short, None)
    except ImportError:
        found = None
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(f"{path}: names {name}, which this version does not have")
    return found
