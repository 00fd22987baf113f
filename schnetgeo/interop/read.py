"""A model file of another package, whichever it is."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from schnetgeo.errors import InputError
from schnetgeo.interop import pyg, schnetpack, schnetpack1, torchmdnet
from schnetgeo.interop.build import Meaning
from schnetgeo.interop.tensorflow import from_tensorflow
from schnetgeo.interop.tree import Node, class_of, is_module, is_state_dict
from schnetgeo.interop.unpickler import read_inert
from schnetgeo.potential import Potential
from schnetgeo.potential.bounded import no_larger_than

_LARGEST_BUNDLE = 2**28  # numbers of a TensorFlow checkpoint
KNOWN = (
    "SchNet of PyTorch Geometric, SchNet and PaiNN of SchNetPack 0.3 to 2.x, graph networks of "
    "TorchMD-Net, and SchNet's TensorFlow checkpoints"
)


def read(path: str | os.PathLike, unit: str | None = None, target: str = "energy") -> Potential:
    """The potential that equals a model of another package, which need not be installed.

    Nothing of the file is run: what is no tensor or container becomes an empty stand-in.

    Args:
        path: file of torch.save, which holds a model, a state dict or a checkpoint; or a TensorFlow
            checkpoint, its .index, its prefix, or the folder that holds one.
        unit: of what the model predicts, such as "eV"; such files do not say.
        target: name of what the model predicts.

    Raises:
        InputError: for a file that is missing, damaged or of an unknown kind or version, which is
            named, for parts without a counterpart, and without a unit.
    """
    prefix = _tensorflow_prefix(Path(path))
    if prefix is not None:
        return _bounded(path, lambda: from_tensorflow(prefix, unit, target))
    content = read_inert(path)
    return _bounded(path, lambda: _potential(content, unit, target))


def _bounded(path: str | os.PathLike, build: Callable[[], Potential]) -> Potential:
    """What a function builds from a file: no larger than that, and faults said in one line."""
    size = Path(path).stat().st_size if Path(path).is_file() else _LARGEST_BUNDLE
    try:
        with no_larger_than({"file": torch.empty(size, device="meta")}, path):
            return build()
    except InputError as error:
        told = str(error).startswith(f"{path}")
        raise (error if told else InputError(f"{path}: {error}")) from None
    except Exception as error:  # values of other kinds than the package writes fail in any way
        raise InputError(
            f"{path}: not as its package writes it ({type(error).__name__}: {error}); get a fresh "
            "copy"
        ) from None


def _potential(content: object, unit: str | None, target: str) -> Potential:
    if is_module(content):
        return _of_module(Node(content), unit, target)
    if is_state_dict(content):
        return _of_tensors(content, unit, target)
    if isinstance(content, Mapping) and "state_dict" in content:
        return _of_checkpoint(content, unit, target)
    raise InputError(f"holds {_what(content)}, which is no model; known are {KNOWN}")


def _of_module(node: Node, unit: str | None, target: str, tensors=None) -> Potential:
    meaning, kind = Meaning(unit, target), node.class_path
    if kind.startswith("torch_geometric.nn.models.schnet."):
        return pyg.source_of(node).potential(meaning)
    if kind.startswith("torchmdnet."):
        return torchmdnet.source_of(node).potential(meaning)
    if kind == "schnetpack.model.base.NeuralNetworkPotential":
        return schnetpack.source_of(node, str(target), tensors).potential(meaning)
    if kind.startswith("schnetpack.atomistic.") and node.name == "AtomisticModel":
        return schnetpack1.source_of(node).potential(meaning)
    raise InputError(f"holds a model {kind:.100}, which is not known; known are {KNOWN}")


def _of_tensors(tensors: Mapping, unit: str | None, target: str) -> Potential:
    if "distance_expansion.offset" in tensors:
        return pyg.from_pyg(tensors, unit, target)
    if "representation.cutoff_fn.cutoff" in tensors:
        return schnetpack.from_schnetpack(tensors, unit, target)
    some = ", ".join(list(tensors)[:4])
    raise InputError(f"a state dict with {some:.200}, which is not known; known are {KNOWN}")


def _of_checkpoint(content: Mapping, unit: str | None, target: str) -> Potential:
    options, state = content.get("hyper_parameters"), content["state_dict"]
    if isinstance(options, Mapping) and is_module(options.get("model")) and is_state_dict(state):
        tensors = {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
        return _of_module(Node(options["model"]), unit, target, tensors)
    if isinstance(options, dict) and isinstance(options.get("model"), str):
        return torchmdnet.from_torchmdnet(content, unit, target)
    if is_state_dict(state):
        return _of_tensors({k.removeprefix("model."): v for k, v in state.items()}, unit, target)
    raise InputError(f"a checkpoint of {_what(state)}; known are {KNOWN}")


def _what(content: object) -> str:
    if isinstance(content, Mapping):
        return f"a dictionary with {', '.join(map(str, list(content)[:6]))}"[:200]
    return f"a {class_of(content)}"[:200]


def _tensorflow_prefix(path: Path) -> str | None:
    """Path of a TensorFlow checkpoint without .index; `None` where there is none."""
    if path.is_dir():
        best = path / "validation"
        indices = [*(best if best.is_dir() else path).glob("*.index")]
        if not indices:
            raise InputError(f"{path}: a folder without .index is no checkpoint; name a file in it")
        path = max(indices, key=_step)
    if path.suffix == ".index":
        return str(path).removesuffix(".index")
    return str(path) if not path.is_file() and Path(f"{path}.index").is_file() else None


def _step(index: Path) -> int:
    """Steps of training, which the name of a checkpoint ends in."""
    last = index.stem.rpartition("-")[2]
    return int(last) if last.isdecimal() else -1
