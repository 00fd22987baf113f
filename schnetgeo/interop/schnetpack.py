"""SchNet and PaiNN of SchNetPack 2: objects, `best_model` files, checkpoints and state dicts."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from schnetgeo.errors import InputError
from schnetgeo.interop.build import Meaning, Source, activation_class, count, renamed
from schnetgeo.interop.tree import Node, class_of, is_module
from schnetgeo.nn import (
    AtomisticModel,
    CosineCutoff,
    MeanReadout,
    MollifierCutoff,
    PaiNN,
    SchNet,
    ShiftedSoftplus,
    StoredBesselBasis,
    StoredGaussianBasis,
    SumReadout,
)
from schnetgeo.potential import Potential

_COMMON = (
    (r"^(representation|output_modules\.\d+)\.", ""),
    (r"^(cutoff_fn|postprocessors|radial_basis)\..*", ""),
    (r".*\.activation\.(alpha|beta)$", ""),
    (r"^outnet\.0\.", "readout.lin1."),
    (r"^outnet\.1\.", "readout.lin2."),
)
_SCHNET = (
    *_COMMON,
    (r"\.in2f\.", ".lin1."),
    (r"\.f2out\.0\.", ".lin2."),
    (r"\.f2out\.1\.", ".lin3."),
    (r"\.filter_network\.0\.", ".conv.filter.0."),
    (r"\.filter_network\.1\.", ".conv.filter.2."),
)
_PAINN = (
    *_COMMON,
    (r"^interactions\.(\d+)\.interatomic_context_net\.0", r"interactions.\1.message.0"),
    (r"^interactions\.(\d+)\.interatomic_context_net\.1", r"interactions.\1.message.2"),
    (r"^mixing\.(\d+)\.intraatomic_context_net\.0", r"interactions.\1.update.0"),
    (r"^mixing\.(\d+)\.intraatomic_context_net\.1", r"interactions.\1.update.2"),
    (r"^mixing\.(\d+)\.mu_channel_mix", r"interactions.\1.mix"),
)
CUTOFFS = {"CosineCutoff": CosineCutoff, "MollifierCutoff": MollifierCutoff}
READOUTS = {"sum": SumReadout, "avg": MeanReadout}


def from_schnetpack(
    model: nn.Module | Mapping[str, Tensor], unit: str | None = None, target: str = "energy"
) -> Potential:
    """The potential that equals a SchNet or PaiNN of SchNetPack 2.

    The weights keep their type: of `model.double()` the result equals it to 1e-10.

    Args:
        model: `NeuralNetworkPotential` with an `Atomwise` output; or its state dict, where the
            activations are taken to be the usual ones, the cutoff function the cosine, and the
            result a sum over atoms.
        unit: of what it predicts, such as "eV"; the model does not say.
        target: name of what it predicts, that of the output where there are several.

    Raises:
        InputError: for another model, and without a unit.
    """
    meaning = Meaning(unit, target)
    if is_module(model):
        return source_of(Node(model), target).potential(meaning)
    return source_of_tensors(dict(model)).potential(meaning)


def source_of(node: Node, key: str, tensors: dict[str, Tensor] | None = None) -> Source:
    """A model in our terms.

    Args:
        node: of the whole model.
        key: name of the output where there are several.
        tensors: state dict, instead of the values in the model.
    """
    version = str(node.attribute("spk_version") or "2.0")
    if not version.startswith("2."):
        raise InputError(f"a model of SchNetPack {version:.20}; known are 0.3, 1.x and 2.x")
    tensors = dict(node.tensors()) if tensors is None else tensors
    representation, output = node["representation"], _output(node, key)
    kind = {"SchNet": SchNet, "PaiNN": PaiNN}.get(representation.name)
    mode, cutoff = output.attribute("aggregation_mode"), representation["cutoff_fn"].name
    embeddings = representation.children.get("electronic_embeddings")
    for holds, what in (
        (kind is not None, f"representation {representation.name}"),
        (representation["embedding"].name == "Embedding", representation["embedding"].name),
        (embeddings is None or not embeddings.children, "electronic_embeddings"),
        (mode in READOUTS, f"aggregation_mode {mode!r}"),
        (cutoff in CUTOFFS, f"cutoff_fn {cutoff}"),
        (len(output["outnet"].children) == 2, "an output network of other than 2 layers"),
    ):
        if not holds:
            raise InputError(f"SchNetPack: {what:.80} has no counterpart")
    first = "f2out.0" if kind is SchNet else "interatomic_context_net.0"
    arguments = {
        "activation": activation(representation[f"interactions.0.{first}"]),
        "readout": READOUTS[mode],
        "cutoff_fn": CUTOFFS[cutoff],
    }
    readout_activation = activation(output["outnet.0"])
    wanted = [f"{output.path}.", "representation."]
    weights = {k: v for k, v in tensors.items() if k.startswith(tuple(wanted))}
    source = _source(kind, weights, arguments, readout_activation)
    references, source.scale = _postprocessing(node, output, tensors)
    source.references, source.notes = references, {"source": f"SchNetPack {version}"}
    return source


def source_of_tensors(tensors: dict[str, Tensor]) -> Source:
    """A state dict in our terms, with the usual choices for what it does not hold."""
    kind = PaiNN if any(".mixing." in name for name in tensors) else SchNet
    act = nn.SiLU if kind is PaiNN else ShiftedSoftplus
    source = _source(kind, tensors, {"activation": act}, nn.SiLU)
    references: Tensor = torch.zeros((), dtype=torch.float64)
    for name, value in tensors.items():
        if name.startswith("postprocessors.") and name.endswith((".mean", ".atomref")):
            references = references + value.double().flatten()
        elif name.startswith("postprocessors."):
            raise InputError(f"{name} has no counterpart in a state dict; give the whole model")
    source.references = references
    return source


def _source(
    kind: type[AtomisticModel],
    tensors: dict[str, Tensor],
    arguments: dict,
    readout_activation: type[nn.Module],
) -> Source:
    """SchNet or PaiNN with the weights of its representation and one output."""
    for name, value in tensors.items():
        if name.endswith((".activation.alpha", ".activation.beta")) and bool((value != 1).any()):
            raise InputError(f"{name}: a softplus with other than 1 there has no counterpart")
    basis, cutoff = _basis(tensors), _cutoff(tensors)
    weights = renamed(tensors, _SCHNET if kind is SchNet else _PAINN)
    num_layers = count(weights, r"interactions\.(\d+)\.")
    if kind is PaiNN:
        weights = _split_filters(weights, num_layers)
        channels = weights["embedding.weight"].size(1)
        check_same_activation(arguments["activation"], readout_activation)
    else:
        channels = max(weights["interactions.0.lin1.weight"].shape)
        arguments = {**arguments, "readout_activation": readout_activation}
    model = kind(
        channels=channels,
        num_layers=num_layers,
        num_basis=basis.num_basis,
        basis=basis,
        cutoff=cutoff,
        readout_channels=len(weights["readout.lin1.weight"]),
        max_z=len(weights["embedding.weight"]),
        **arguments,
    )
    weights |= {f"basis.{name}": value for name, value in basis.named_buffers()}
    return Source(model, weights, dtype=weights["embedding.weight"].dtype)


def _basis(tensors: Mapping[str, Tensor]) -> StoredGaussianBasis | StoredBesselBasis:
    prefix = "representation.radial_basis."
    stored = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    if stored.keys() == {"offsets", "widths"}:
        exponents = 0.5 / stored["widths"].detach().double().square()
        return StoredGaussianBasis.of(stored["offsets"], exponents)
    if stored.keys() == {"freqs"}:
        return StoredBesselBasis.of(stored["freqs"])
    raise InputError(f"radial_basis with {', '.join(stored) or 'no numbers'} has no counterpart")


def _cutoff(tensors: Mapping[str, Tensor]) -> float:
    name = "representation.cutoff_fn.cutoff"
    if name not in tensors:
        raise InputError(f"no model of SchNetPack 2: {name} is missing")
    return float(tensors[name])  # rounded to float32, as the package computes with it


def _split_filters(weights: dict[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    """One dense layer for the filters of all interactions, or one that they share."""
    for kind in ("weight", "bias"):
        rows = weights.pop(f"filter_net.{kind}")
        shared = len(rows) == 3 * weights["embedding.weight"].size(1)
        parts = [rows] * num_layers if shared else rows.chunk(num_layers)
        weights |= {f"interactions.{n}.conv.filter.{kind}": part for n, part in enumerate(parts)}
    return weights


def check_same_activation(layers: type[nn.Module], readout: type[nn.Module]) -> None:
    """Raise `InputError` where PaiNN's readout has another activation than its layers."""
    if layers is not readout:
        raise InputError(
            f"PaiNN with {layers.__name__} in its layers and {readout.__name__} in its output has "
            "no counterpart"
        )


def _output(node: Node, key: str) -> Node:
    """The output module for a property."""
    outputs = [m for m in node["output_modules"].children.values() if m.name == "Atomwise"]
    if len(outputs) > 1:
        outputs = [m for m in outputs if m.attribute("output_key") == key]
    if len(outputs) != 1:
        names = ", ".join(m.name for m in node["output_modules"].children.values())
        raise InputError(
            f"output_modules {names:.200} have no Atomwise for {key!r:.40}; name another target"
        )
    return outputs[0]


def activation(layer: Node) -> type[nn.Module]:
    """Our class of the activation of a dense layer."""
    value = layer.attribute("activation")
    name = layer["activation"].name if value is None else class_of(value).rpartition(".")[2]
    return activation_class(name)


def _postprocessing(
    node: Node, output: Node, tensors: Mapping[str, Tensor]
) -> tuple[Tensor, float]:
    """References (Z,) or (), and the scale, that what comes after the output amounts to."""
    key, mode = output.attribute("output_key"), output.attribute("aggregation_mode")
    references, scale = torch.zeros((), dtype=torch.float64), 1.0
    post = node.children.get("postprocessors")
    for module in post.children.values() if post is not None else ():
        value = lambda name, m=module: tensors[f"{m.path}.{name}"].detach().double()  # noqa: E731
        if module.name == "AddOffsets" and module.attribute("_property") == key:
            if bool(module.attribute("is_extensive")) != (mode == "sum"):
                raise InputError("AddOffsets of another is_extensive than the output's aggregation")
            if module.attribute("add_mean"):
                references = references + value("mean").flatten()
            if module.attribute("add_atomrefs"):
                references = references + value("atomref").flatten()
        elif module.name == "ScaleProperty" and module.attribute("input_key") == key:
            factor, key = float(value("scale")), module.attribute("output_key")
            references, scale = references * factor, scale * factor
        elif module.name == "AddOffsets" or module.name.startswith("CastTo"):
            continue
        else:
            raise InputError(f"postprocessor {module.name} has no counterpart")
    return references.reshape(()) if references.numel() == 1 else references, scale
