"""Whether a SchNet is as it was built, so that functions written for it may stand for modules."""

from typing import NamedTuple

from torch import Tensor, nn

from schnetgeo.errors import InputError
from schnetgeo.nn.conv import CFConv
from schnetgeo.nn.interaction import Interaction
from schnetgeo.nn.known import all_are_watched, has_options, is_known, is_plain, is_smooth
from schnetgeo.nn.readout import MeanReadout, SumReadout


class Built(NamedTuple):
    """The parts of a SchNet that fused functions compute with."""

    modules: list[nn.Module]  # all; while they and their classes stay, what follows is found once
    classes: list[type]
    convs: list[CFConv]
    layers: list[nn.Linear]  # five of each interaction, in the order of `fused.LayerWeights`
    activations: tuple  # of the filter networks, of the interactions, of the readout
    optional: list[nn.Module]  # activations whose options may change

    @property
    def parameters(self) -> list[Tensor | None]:
        """Weight and bias of each layer."""
        kept = [layer._parameters for layer in self.layers]
        try:
            return [p for own in kept for p in (own["weight"], own["bias"])]
        except KeyError as error:
            raise InputError(
                f"the {error.args[0]} of a layer is no parameter any more; register it as one, or "
                "build the model with filters='exact'"
            ) from None


def built(model: nn.Module, last: Built | None) -> Built | None:
    """The parts of a model, or `None` if somebody changed or watches one of them.

    Args:
        model: a SchNet.
        last: what this function found the last time, to be quick where nothing changed.
    """
    modules = _as_written(model)
    if modules is None:
        return None
    classes = [type(m) for m in modules]
    same = last is not None and last.modules == modules and last.classes == classes
    found = last if same else _parts(model, modules, classes)
    if found is None or not _is_plain(model.embedding):
        return None
    if not all(map(is_smooth, found.optional)):
        return None
    return found if all(conv.is_unobserved for conv in found.convs) else None


def _as_written(model: nn.Module) -> list[nn.Module] | None:
    """All modules, unless one is watched or patched, which fused functions would pass by."""
    modules = [model]
    for m in modules:
        if not is_plain(m):
            return None
        modules.extend(child for child in m._modules.values() if child is not None)
    return None if all_are_watched() else modules


def _parts(model: nn.Module, modules: list[nn.Module], classes: list[type]) -> Built | None:
    readout, layers, convs = model.readout, [], []
    if type(readout) not in (SumReadout, MeanReadout) or not is_known(
        model.embedding, nn.Embedding
    ):
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
    smooth = [a for filters, inner in activations for a in (*filters, inner)] + [outer]
    if len(kinds) > 1 or not all(map(is_smooth, smooth)):
        return None
    optional = [a for a in smooth if has_options(a)]
    layers += readout.lin1, readout.lin2
    if not all(is_known(layer, nn.Linear) for layer in layers) or not _fit(model.embedding, layers):
        return None
    return Built(modules, classes, convs, layers, (filters, inner, outer), optional)


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
