"""The TensorFlow checkpoints of SchNet's first implementation (2018)."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from schnetgeo.errors import InputError
from schnetgeo.interop.build import Meaning, Source
from schnetgeo.interop.tensor_bundle import read_bundle
from schnetgeo.interop.unpickler import read_inert_array
from schnetgeo.nn import MeanReadout, SchNet, StepCutoff, StoredGaussianBasis, SumReadout
from schnetgeo.potential import Potential

ALL_PAIRS = 200.0  # Å; there is no cutoff, and no molecule is as large
_LAYERS = {
    "conv.filter.0": "SchNetFilter/Dense",
    "conv.filter.2": "SchNetFilter/Dense_1",
    "lin1": "CFConv/in2fac",
    "lin2": "CFConv/fac2out",
    "lin3": "Dense",
}
_REQUIRED = ("basis", "filters", "interactions", "cutoff")


def from_tensorflow(
    prefix: str | os.PathLike,
    unit: str | None = None,
    target: str = "energy",
    *,
    arguments: Mapping | None = None,
) -> Potential:
    """The potential that equals a checkpoint of the SchNet of 2018, without TensorFlow.

    Energies are Σ_i (y_i · std + mean + reference[z_i]) over all pairs of atoms, with two activated
    filter layers and Gaussians exp(−10 (d − μ)²).

    Args:
        prefix: path of the checkpoint, without or with .index.
        unit: of what it predicts; that code wrote eV.
        target: name of what it predicts.
        arguments: what the model was built with; `None` reads args.npy, or args.json, beside the
            checkpoint or in the folder above.

    Raises:
        InputError: for a file that is missing or damaged, arguments without a counterpart, and
            without a unit.
    """
    prefix = str(prefix).removesuffix(".index")
    arguments = _arguments(Path(prefix)) if arguments is None else dict(arguments)
    return _source(read_bundle(prefix), arguments, prefix).potential(Meaning(unit, target))


def _arguments(prefix: Path) -> dict:
    """What the training script was called with: a pickled namespace, or JSON."""
    for folder in (prefix.parent, prefix.parent.parent):
        array, text = folder / "args.npy", folder / "args.json"
        if array.is_file():
            return vars(read_inert_array(array)[0])
        if text.is_file():
            try:
                arguments = json.loads(text.read_text())
            except ValueError:
                arguments = None
            if not isinstance(arguments, dict):
                raise InputError(f"{text}: no JSON object; get a fresh copy")
            return arguments
    raise InputError(
        f"{prefix}: no args.npy beside it or above, which says what was built; copy it too"
    )


def _source(tensors: Mapping[str, np.ndarray], arguments: dict, path: str) -> Source:
    missing = [name for name in _REQUIRED if name not in arguments]
    if missing:
        raise InputError(f"{path}: the arguments do not say {', '.join(missing)}; get a fresh copy")
    if arguments.get("normalized_filters") or arguments.get("filter_pool_mode", "sum") != "sum":
        raise InputError(f"{path}: normalized or averaged filters have no counterpart")
    values = {_name(name): torch.from_numpy(a.copy()) for name, a in tensors.items()}
    read, number = _Tensors(values, path), int(arguments["interactions"])
    shared = "interaction/SchNetFilter/Dense/W" in values
    scopes = ["interaction" if shared else f"interaction_{n}" for n in range(number)]
    num_basis = len(read[f"{scopes[0]}/SchNetFilter/Dense/W"])
    centers = np.linspace(0, float(arguments["cutoff"]), num_basis).astype("<f4")
    gamma = 1 / float(arguments.get("gap") or 0.1)
    basis = StoredGaussianBasis.of(torch.from_numpy(centers), gamma)
    weights = {f"basis.{name}": value for name, value in basis.named_buffers()}
    weights["embedding.weight"] = read["atom_embedding/embeddings/W"]
    for n, scope in enumerate(scopes):
        for ours, theirs in _LAYERS.items():
            weights |= read.layer(f"interactions.{n}.{ours}", f"{scope}/{theirs}", ours != "lin1")
    weights |= read.layer("readout.lin1", "Dense") | read.layer("readout.lin2", "Dense_1")
    references = torch.zeros((), dtype=torch.float64)
    constants = ["mean_per_atom"]
    if not arguments.get("atomization_energy"):
        constants.append("atomref/embeddings/W")
    for name in constants:
        references = references + values.get(name, torch.zeros(1)).double().flatten()
    model = SchNet(
        channels=max(int(arguments["basis"]), int(arguments["filters"])),
        num_layers=number,
        num_basis=num_basis,
        basis=basis,
        cutoff=ALL_PAIRS,
        cutoff_fn=StepCutoff,
        filter_last_activation=True,
        readout=MeanReadout if arguments.get("intensive") else SumReadout,
        readout_channels=len(weights["readout.lin1.weight"]),
        max_z=len(weights["embedding.weight"]),
    )
    scale = float(values.get("std_per_atom", torch.ones(())))
    if references.numel() == 1:
        references = references.reshape(())
    return Source(model, weights, references, scale, notes={"source": "SchNet (TensorFlow, 2018)"})


def _name(name: str) -> str:
    """Of a tensor in the best model, and of one in a checkpoint of the training."""
    return name.removesuffix(":0").removeprefix("SchNet/")


class _Tensors:
    """Tensors of a checkpoint; asking for one that is not there says what is."""

    def __init__(self, tensors: dict[str, Tensor], path: str):
        self._tensors, self._path = tensors, path

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._tensors:
            known = ", ".join(sorted(self._tensors))
            raise InputError(f"{self._path}: has no {name}, but {known:.300}; no SchNet of 2018")
        return self._tensors[name]

    def layer(self, ours: str, theirs: str, bias: bool = True) -> dict[str, Tensor]:
        """Weight and bias of a dense layer by our names."""
        values = {f"{ours}.weight": self[f"{theirs}/W"].T}
        return values | ({f"{ours}.bias": self[f"{theirs}/b"]} if bias else {})
