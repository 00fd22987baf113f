"""Whether a SchNet is as it was built, so that functions written for it may stand for modules."""

from operator import is_
from typing import NamedTuple

from torch import Tensor, nn

from schnetgeo.nn.conv import CFConv
from schnetgeo.nn.interaction import Interaction
from schnetgeo.nn.known import (
    Written,
    all_are_watched,
    are_written,
    has_options,
    is_known,
    is_plain,
    is_smooth,
)
from schnetgeo.nn.readout import MeanReadout, SumReadout

_WRITTEN = {cls: Written(cls) for cls in (Interaction, SumReadout, MeanReadout)}


class Built(NamedTuple):
    """The parts of a SchNet that fused functions compute with."""

    modules: list[nn.Module]  # all; while they, their children and classes stay, so does the rest
    children: list[nn.Module | None]  # those of each module, one after the other
    classes: list[type]
    convs: list[CFConv]
    layers: list[nn.Linear]  # five of each interaction, in the order of `fused.LayerWeights`
    activations: tuple  # of the filter networks, of the interactions, of the readout
    parameters: list[Tensor | None]  # of the embedding, then weight and bias of each layer
    optional: list[nn.Module]  # activations whose options may change


def built(model: nn.Module, last: Built | None) -> Built | None:
    """The parts of a model, or `None` if somebody changed or watches one of them.

    Args:
        model: a SchNet.
        last: what this function returned the last time, to be quick where nothing changed.
    """
    parts = last
    if last is None or last.modules[0] is not model or not _is_same(last):
        parts = _parts(model)
    if parts is None or all_are_watched() or not _is_plain(model.embedding):
        return None
    if not _are_written(set(parts.classes)) or not all(map(is_smooth, parts.optional)):
        return None
    return parts if all(conv.is_unobserved for conv in parts.convs) else None


def _is_same(last: Built) -> bool:
    """Whether no module was replaced, nor its class, and none is watched or patched."""
    children = []
    for module, cls in zip(last.modules, last.classes, strict=True):
        if type(module) is not cls or not is_plain(module):
            return False
        children += module._modules.values()
    parameters = _parameters(last.modules[0].embedding, last.layers)
    same = parameters is not None and all(map(is_, parameters, last.parameters))
    return same and children == last.children


def _parameters(embedding: nn.Embedding, layers: list[nn.Linear]) -> list[Tensor | None] | None:
    """Weights and biases, or `None` if one is no parameter, such as of a parametrized layer."""
    names = [layer._parameters for layer in layers]
    try:
        pairs = [p for layer in names for p in (layer["weight"], layer["bias"])]
        return [embedding._parameters["weight"], *pairs]
    except KeyError:
        return None


def _are_written(classes: set[type]) -> bool:
    """Whether nobody replaced a function of a class."""
    return are_written(classes) and all(_WRITTEN[c].has(c) for c in classes & _WRITTEN.keys())


def _parts(model: nn.Module) -> Built | None:
    """Those of a model of the usual classes and shapes, none of which is watched or patched."""
    modules, children = [model], []
    for module in modules:
        if not is_plain(module):
            return None
        children += module._modules.values()
        modules += (child for child in module._modules.values() if child is not None)
    readout, layers, convs = model.readout, [], []
    if type(readout) not in (SumReadout, MeanReadout) or not is_known(
        model.embedding, nn.Embedding
    ):
        return None
    for interaction in model.interactions:
        five = _layers(interaction)
        if five is None:
            return None
        layers += five
        convs.append(interaction.conv)
    activations = [(i.conv.activations, i.activation) for i in model.interactions]
    kinds = {(*map(type, filters), type(inner)) for filters, inner in activations}
    (filters, inner), outer = activations[0], readout.activation
    smooth = [a for filters, inner in activations for a in (*filters, inner)] + [outer]
    if len(kinds) > 1 or not all(map(is_smooth, smooth)):
        return None
    optional = [a for a in smooth if has_options(a)]
    layers += readout.lin1, readout.lin2
    if not all(is_known(layer, nn.Linear) for layer in layers):
        return None
    parameters = _parameters(model.embedding, layers)
    if parameters is None or not _fit(model.embedding, layers):
        return None
    classes, functions = [type(module) for module in modules], (filters, inner, outer)
    return Built(modules, children, classes, convs, layers, functions, parameters, optional)


def _layers(interaction: nn.Module) -> list[nn.Linear] | None:
    conv = interaction.conv
    if type(interaction) is not Interaction or not (isinstance(conv, CFConv) and conv.fused):
        return None
    if not is_known(conv.filter, nn.Sequential) or len(conv.filter) not in (3, 4):
        return None
    return [interaction.lin1, interaction.lin2, interaction.lin3, conv.filter[0], conv.filter[2]]


def _fit(embedding: nn.Embedding, layers: list[nn.Linear]) -> bool:
    """Whether the layers have the shapes, and all but the first of five the biases, of a SchNet."""
    *inner, first, last = layers
    f, k, r = embedding.embedding_dim, inner[3].in_features, first.out_features
    shapes = [(f, f), (f, f), (f, f), (f, k), (f, f)] * (len(inner) // 5) + [(r, f), (1, r)]
    biased = all(
        layer.bias is not None for n, layer in enumerate(layers) if n % 5 or layer is first
    )
    return biased and [tuple(layer.weight.shape) for layer in layers] == shapes


def _is_plain(embedding: nn.Module) -> bool:
    """Whether it looks its rows up and does nothing else."""
    return not (
        embedding.padding_idx is not None
        or embedding.max_norm is not None
        or embedding.scale_grad_by_freq
        or embedding.sparse
    )
