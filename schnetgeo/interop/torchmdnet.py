"""The graph network of TorchMD-Net: objects and checkpoints."""

import re
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from schnetgeo.errors import InputError
from schnetgeo.interop.build import (
    Meaning,
    Source,
    activation_class,
    count,
    renamed,
    shift_softplus,
)
from schnetgeo.interop.pyg import LN2
from schnetgeo.interop.tree import Node, is_module
from schnetgeo.nn import (
    ExpNormalBasis,
    MeanReadout,
    NeighborSchNet,
    SchNet,
    ShiftedSoftplus,
    ShiftedSumReadout,
    StoredGaussianBasis,
    SumReadout,
)
from schnetgeo.potential import Potential

_RULES = (
    (r"^(representation_model|output_model)\.", ""),
    (r"^(interactions\.\d+)\.conv\.(net|cutoff)\b.*", ""),  # net is the same as mlp
    (r"^neighbor_embedding\.cutoff\..*", ""),
    (r"^neighbor_embedding\.embedding\.", "neighbor_embedding."),
    (r"^neighbor_embedding\.distance_proj\.", "neighbor_conv.filter."),
    (r"^neighbor_embedding\.combine\.", "combine."),
    (r"^distance(_expansion)?\..*", ""),
    (r"^(prior_model\.|mean$|std$).*", ""),
    (r"^(interactions\.\d+)\.lin\.", r"\1.lin3."),
    (r"^(interactions\.\d+)\.conv\.lin([12])", r"\1.lin\2"),
    (r"^(interactions\.\d+)\.mlp", r"\1.conv.filter"),
    (r"^output_network\.(layers\.)?0\.", "readout.lin1."),  # without layers. in older versions
    (r"^output_network\.(layers\.)?2\.", "readout.lin2."),
)
_OPTIONS = (
    "rbf_type", "activation", "cutoff_lower", "cutoff_upper", "aggr",
)  # fmt: skip


def from_torchmdnet(
    model: nn.Module | Mapping, unit: str | None = None, target: str = "energy"
) -> Potential:
    """The potential that equals a graph network of TorchMD-Net.

    Args:
        model: `TorchMD_Net` with `TorchMD_GN` and a scalar output, or a checkpoint: a dictionary
            with `state_dict` and `hyper_parameters`.
        unit: of what it predicts, such as "eV"; the model does not say.
        target: name of what it predicts.

    Raises:
        InputError: for other models, such as its transformer, and without a unit.
    """
    source = source_of(Node(model)) if is_module(model) else source_of_checkpoint(model)
    return source.potential(Meaning(unit, target))


def source_of(node: Node) -> Source:
    """A live model, or the stand-in of one, in our terms."""
    representation = node["representation_model"]
    if representation.name != "TorchMD_GN":
        raise InputError(f"TorchMD-Net's {representation.name} has no counterpart; TorchMD_GN has")
    options = {name: representation.attribute(name) for name in _OPTIONS}
    output = node["output_model"]
    options["output_model"] = output.name
    options["reduce_op"] = output.attribute("reduce_op", "sum")
    layers = representation["interactions.0.act"]
    options["activation"] = layers.name
    shift = float(layers.attribute("shift", LN2))
    priors = node.children["prior_model"].children if "prior_model" in node.children else {}
    options["prior_model"] = [prior.name for prior in priors.values()]
    disabled = tuple(f"{p.path}." for p in priors.values() if p.attribute("enable") is False)
    tensors = {k: v for k, v in node.tensors() if not k.startswith(disabled or " ")}
    return _source(tensors, options, shift)


def source_of_checkpoint(checkpoint: Mapping) -> Source:
    """A checkpoint of its trainings in our terms."""
    options, state = checkpoint.get("hyper_parameters"), checkpoint.get("state_dict")
    if not isinstance(options, dict) or not isinstance(state, Mapping):
        raise InputError("no checkpoint of TorchMD-Net: state_dict or hyper_parameters is missing")
    if options.get("model") != "graph-network":
        kind = options.get("model")
        raise InputError(f"TorchMD-Net's {kind!r:.40} has no counterpart; graph-network has")
    tensors = {re.sub(r"^model\.", "", k): v for k, v in state.items() if isinstance(v, Tensor)}
    prior = options.get("prior_model")
    names = prior if isinstance(prior, list) else [prior] if prior else []
    names = [next(iter(name)) if isinstance(name, dict) else name for name in names]
    return _source(tensors, {**options, "prior_model": names}, LN2)


def _source(tensors: dict[str, Tensor], options: Mapping, shift: float) -> Source:
    act = activation_class(str(options.get("activation")))
    reduce, priors = options.get("reduce_op", "sum"), set(map(str, options["prior_model"]))
    for holds, what in (
        (options.get("rbf_type") in (None, "gauss", "expnorm"), f"rbf {options.get('rbf_type')}"),
        (not options.get("cutoff_lower"), "cutoff_lower other than 0"),
        (options.get("aggr", "add") == "add", f"aggr={options.get('aggr')!r}"),
        (options.get("output_model") in ("Scalar", None), f"{options.get('output_model')}"),
        (reduce in ("sum", "add", "mean"), f"reduce_op={reduce!r}"),
        (priors <= {"Atomref", "LearnableAtomref"}, f"prior {', '.join(sorted(priors))}"),
    ):
        if not holds:
            raise InputError(f"TorchMD-Net: {what:.80} has no counterpart")
    cutoff = float(options["cutoff_upper"])
    basis, weights = _basis(tensors, cutoff), renamed(tensors, _RULES)
    num_layers = count(weights, r"interactions\.(\d+)\.")
    if act is ShiftedSoftplus:
        parts = "conv.filter.2", "lin3"
        after = [f"interactions.{n}.{part}" for n in range(num_layers) for part in parts]
        shift_softplus(weights, shift, [*after, "readout.lin2"])
    mean, std = (float(tensors.get(name, d)) for name, d in (("mean", 0.0), ("std", 1.0)))
    references = torch.zeros((), dtype=torch.float64)
    for name, value in tensors.items():
        if re.fullmatch(r"prior_model\.(\d+\.)?atomref\.weight", name):
            references = references + value.double().flatten()
    if reduce == "mean":
        readout, references = MeanReadout, references + mean
    else:  # the mean is that of structures, not of atoms
        readout = partial(ShiftedSumReadout, shift=mean / std) if mean else SumReadout
    architecture, channels = SchNet, max(weights["interactions.0.lin1.weight"].shape)
    if "neighbor_embedding.weight" in weights:
        architecture = NeighborSchNet
        if channels > weights["embedding.weight"].size(1):
            raise InputError(
                "TorchMD-Net: more num_filters than channels beside neighbor_embedding have no "
                "counterpart"
            )
    model = architecture(
        channels=channels,
        num_layers=num_layers,
        basis=basis,
        cutoff=cutoff,
        activation=act,
        readout=readout,
        readout_channels=len(weights["readout.lin1.weight"]),
        max_z=len(weights["embedding.weight"]),
    )
    weights |= {f"basis.{name}": value for name, value in basis.named_buffers()}
    dtype = weights["embedding.weight"].dtype
    return Source(model, weights, references, std, dtype, {"source": "TorchMD-Net"})


def _basis(tensors: Mapping[str, Tensor], cutoff: float) -> StoredGaussianBasis | ExpNormalBasis:
    prefix = "representation_model.distance_expansion."
    stored = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    if {"offset", "coeff"} <= stored.keys():
        return StoredGaussianBasis.of(stored["offset"], -stored["coeff"].double())
    if {"means", "betas"} <= stored.keys():
        return ExpNormalBasis.of(stored["means"], stored["betas"], cutoff)
    raise InputError(f"rbf with {', '.join(stored) or 'no numbers'} has no counterpart")
