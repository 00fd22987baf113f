"""Whether a SchNet is as it was built, so that functions written for it may stand for modules."""

from operator import is_
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.geometry import batch_index, num_structures
from schnetgeo.nn.basis import GaussianBasis
from schnetgeo.nn.captured import Graphs
from schnetgeo.nn.conv import CFConv, RadialConv
from schnetgeo.nn.fused import Atoms, Plan, energy_and_slope
from schnetgeo.nn.interaction import Interaction
from schnetgeo.nn.known import (
    Written,
    adds_nothing,
    all_are_watched,
    are_written,
    has_options,
    is_known,
    is_patched,
    is_plain,
    is_smooth,
    is_smooth_network,
)
from schnetgeo.nn.readout import MeanReadout, SumReadout
from schnetgeo.nn.schnet import SchNet
from schnetgeo.nn.spline import Knots, PlacedFilters, default_spacing

_HOOKS = [
    f"_{method}_forward{kind}_hooks"
    for method in ("propagate", "message", "aggregate")
    for kind in ("_pre", "")
]
_SCHNET, _CFCONV, _RADIAL_CONV = Written(SchNet), Written(CFConv), Written(RadialConv)
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


class FastSchNet:
    """Energies of a SchNet and their derivatives along edges, by `nn/fused.py`.

    Args:
        model: any model; one that is no SchNet with Gaussians is never served.
        spacing: distance of the knots in Å; `None` is `default_spacing`.
    """

    def __init__(self, model: nn.Module, spacing: float | None):
        self.knots: Knots | None = None
        if isinstance(model, SchNet) and isinstance(model.basis, GaussianBasis):
            self.knots = Knots(
                model.basis,
                model.cutoff,
                default_spacing(model.basis) if spacing is None else spacing,
            )
        self.graphs, self._weights_at = Graphs(), 0
        self._parts: Built | None = None

    def serves(self, model: nn.Module) -> bool:
        """Whether it may stand for the model's `forward`: nobody changed or watches a part."""
        if torch.compiler.is_compiling() or self.knots is None or not isinstance(model, SchNet):
            return False
        if not adds_nothing(type(model), SchNet) or not _SCHNET.has(type(model)):
            return False
        # half precision would lose several times more
        precise = model.embedding.weight.dtype in (torch.float32, torch.float64)
        has_knots = precise and self.knots.serve(model.basis, model.cutoff_fn)
        self._parts = built(model, self._parts) if has_knots else None
        return self._parts is not None

    def energy_and_slope(
        self, model: SchNet, data: Data, distance: Float[Tensor, "E"], with_slope: bool = True
    ) -> tuple[Float[Tensor, "B"], Float[Tensor, "E"]]:
        """What `forward` gives, and slopes of its sum, of which those of a pair's two edges add up.

        Gradients flow from both to the parameters, none to the distances. Ask `serves` before each
        call: it also finds the parts to compute with.

        Args:
            model: a SchNet.
            data: structure or batch with sorted edges.
            distance: of each edge, Å.
            with_slope: whether the slopes are wanted; they are 0 otherwise.
        """
        placed = PlacedFilters(self.knots, model.cutoff_fn, data, distance.detach())
        return self.through(model, placed, data, with_slope)

    def through(
        self,
        model: SchNet,
        placed: PlacedFilters,
        data: Data,
        with_slope: bool,
        tables: tuple[Tensor, ...] | None = None,
    ) -> tuple[Float[Tensor, "B"], Float[Tensor, "E"]]:
        """The same with filters that are placed already, and tables of them, if known."""
        if self._parts is None or self._parts.modules[0] is not model:
            self._parts = built(model, None)
        address = model.embedding.weight.data_ptr()
        if address != self._weights_at:  # the old ones are for where the weights were
            self.graphs, self._weights_at = Graphs(), address
        parts, batch = self._parts, (batch_index(data), num_structures(data))
        weights = model.readout.atom_weights(*batch).detach()
        plan = Plan(placed, *parts.activations, weights, with_slope, tables, self.graphs)
        return energy_and_slope(plan, Atoms(data.z, *batch, data.get("ptr")), *parts.parameters)


def is_cfconv(conv: nn.Module) -> bool:
    """Whether a layer is a CFConv as it was built, unobserved."""
    return (
        isinstance(conv, CFConv)
        and not is_patched(conv)
        and is_smooth_network(conv.filter)
        and _is_unobserved(conv)
    )


def _activations(conv: CFConv) -> tuple[nn.Module, ...]:
    """After the filter's first layer, and after the second or not."""
    return conv.filter[1], *conv.filter[3:]


def _is_unobserved(conv: CFConv) -> bool:
    """Whether messages are what CFConv says, in PyG's usual way, and nobody sees them."""
    if conv._explain or conv.flow != "source_to_target" or not _propagates_as_built(conv):
        return False
    if not (_CFCONV.has(type(conv)) and _RADIAL_CONV.has(RadialConv)):
        return False
    return adds_nothing(type(conv), CFConv) and not any(map(vars(conv).get, _HOOKS))


def _propagates_as_built(conv: RadialConv) -> bool:
    """Whether PyG wrote `propagate`, which it puts on the instance after explaining."""
    function = getattr(conv.propagate, "__func__", None)
    generated = function is type(conv)._jinja_propagate
    return generated and function.__module__.endswith("_propagate")


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
    return parts if all(map(_is_unobserved, parts.convs)) else None


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
    activations = [(_activations(i.conv), i.activation) for i in model.interactions]
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
    if type(interaction) is not Interaction or not is_cfconv(conv):
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
