"""Whether a SchNet is as it was built, so that functions written for it may stand for modules."""

from typing import NamedTuple

from torch import Tensor, nn

from schnetgeo.nn.conv import CFConv
from schnetgeo.nn.interaction import Interaction
from schnetgeo.nn.readout import MeanReadout, SumReadout


class Built(NamedTuple):
    """The parts of a SchNet that fused functions compute with."""

    modules: list[nn.Module]  # all; while they and their classes stay, what follows is found once
    classes: list[type]
    convs: list[CFConv]
    layers: list[nn.Linear]  # five of each interaction, in the order of `fused.LayerWeights`
    activations: tuple  # of the filter networks, of the interactions, of the readout

    @property
    def parameters(self) -> list[Tensor | None]:
        """Weight and bias of each layer."""
        kept = [layer._parameters for layer in self.layers]
        return [p for own in kept for p in (own["weight"], own["bias"])]


def built(model: nn.Module, last: Built | None) -> Built | None:
    """The parts of a model, or `None` if somebody changed or watches one of them.

    Args:
        model: a SchNet.
        last: what this function found the last time, to be quick where nothing changed.
    """
    modules = _unwatched(model)
    if modules is None:
        return None
    classes = [type(m) for m in modules]
    same = last is not None and last.modules == modules and last.classes == classes
    found = last if same else _parts(model, modules, classes)
    if found is None or not _is_plain(model.embedding):
        return None
    return found if all(conv.fused for conv in found.convs) else None


def _unwatched(model: nn.Module) -> list[nn.Module] | None:
    """All modules, unless hooks sit on one, which fused functions would pass by."""
    modules = [model]
    for m in modules:
        if m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks:
            return None
        modules.extend(child for child in m._modules.values() if child is not None)
    return modules


def _parts(model: nn.Module, modules: list[nn.Module], classes: list[type]) -> Built | None:
    readout, layers, convs = model.readout, [], []
    if type(readout) not in (SumReadout, MeanReadout) or type(model.embedding) is not nn.Embedding:
        return None
    for interaction in model.interactions:
        own = _layers(interaction)
        if own is None:
            return None
        layers += own
        convs.append(interaction.conv)
    activations = [(i.conv.activations, i.activation) for i in model.interactions]
    kinds = {(*map(type, filters), type(inner)) for filters, inner in activations}
    (filters, inner), outer = activations[0], readout.activation
    bare = not any(a._parameters or a._modules for a in (*filters, inner, outer))
    if len(kinds) > 1 or not bare:
        return None
    layers += readout.lin1, readout.lin2
    if not all(type(layer) is nn.Linear for layer in layers) or not _fit(model.embedding, layers):
        return None
    return Built(modules, classes, convs, layers, (filters, inner, outer))


def _layers(interaction: nn.Module) -> list[nn.Linear] | None:
    conv = interaction.conv
    if type(interaction) is not Interaction or type(conv).forward is not CFConv.forward:
        return None
    if type(conv.filter) is not nn.Sequential or len(conv.filter) not in (3, 4):
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
