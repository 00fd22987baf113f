"""The uncertainty of one potential, from the last layer of its energy."""

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.data.graph import with_edges
from schnetgeo.errors import InputError
from schnetgeo.geometry import batch_index, num_structures
from schnetgeo.nn.heads import Heads
from schnetgeo.nn.readout import AtomReadout, Readout, SumReadout, sum_atoms
from schnetgeo.potential.arguments import readouts_of
from schnetgeo.potential.posterior import embedding
from schnetgeo.potential.prediction import Prediction
from schnetgeo.potential.uncertainty import Uncertainty
from schnetgeo.targets import Target

FEATURES = "last_layer"  # name under which a prediction has them


class LastLayer(nn.Module):
    """Standard deviations |Lᵀ f| of energies, f = Σ_i w_i (h_i, 1) with the last hidden layer h_i.

    The energy is linear in f, so the weights of the last layer have the posterior of a linear
    regression, see `posterior.fit_posterior`. A component of the forces has
    β (Σ_k F_k²)^½, F_k the forces of the same model with column k of L as its last layer.

    Both stay float64 under `.to(dtype)`.

    Args:
        channels: D, one more than the hidden channels of the readout.
    """

    factor: Float[Tensor, "D D"]  # L, eV
    force_scale: Float[Tensor, ""]  # β; 0 where no forces were there to calibrate it

    def __init__(self, channels: int):
        super().__init__()
        self.register_buffer("factor", torch.zeros(channels, channels, dtype=torch.float64))
        self.register_buffer("force_scale", torch.zeros((), dtype=torch.float64))
        self._twin: tuple | None = None  # in a tuple, so that it is no part of this module

    def predict(
        self, potential: nn.Module, data: Data, forces: bool | None, stress: bool, of_forces: bool
    ) -> Prediction:
        """The prediction of a potential with its uncertainty, of forces too if that is wanted.

        Raises:
            InputError: in training mode, and for forces where none were calibrated.
        """
        if potential.training:
            raise InputError("uncertainty needs evaluation mode; call potential.eval()")
        if of_forces and not self.force_scale:
            raise InputError(
                "this model has no uncertainty of forces, for no validation structure had forces; "
                "calibrate it on some that have"
            )
        if potential.model.cutoff is not None:
            data = with_edges(data, potential.model.cutoff)
        prediction = self._featured(potential)(data, forces=forces, stress=stress)
        further = dict(prediction.further)
        points = embedding(further.pop(FEATURES).to(self.factor.device), self.factor)
        spread = None
        if of_forces:
            spread = self.force_scale * unscaled_force_std(potential, data, self.factor)
        return replace(prediction, further=further, uncertainty=Uncertainty(points, spread))

    def _featured(self, potential: nn.Module) -> nn.Module:
        parts = potential.model, potential.filters, potential.spacing
        if self._twin is None or self._twin[:3] != parts:
            self._twin = *parts, with_features(potential)
        featured = self._twin[3]
        featured.trained_on = potential.trained_on
        return featured

    def _apply(self, fn, recurse=True):
        device = fn(torch.empty(0)).device
        for name, value in self._buffers.items():
            self._buffers[name] = value.to("cpu" if device.type == "mps" else device)
        return self


class FeatureHeads(Heads):
    """The heads of a model, and the features that the last layer of the first one sees.

    Args:
        heads: by the names of their targets.
    """

    def __init__(self, heads: Mapping[str, Readout]):
        Readout.__init__(self)
        self.heads = nn.ModuleDict(heads)

    def forward(self, x: Float[Tensor, "N F"], v: Float[Tensor, "N 3 F"] | None = None) -> tuple:
        first, *others = self.heads.values()
        hidden = first.activation(first.lin1(x))
        return first.lin2(hidden).squeeze(-1), *(head(x, v) for head in others), hidden

    def reduce(self, values: tuple, data: Data) -> tuple[Tensor, ...]:
        """The result of each head, and Σ_i w_i (h_i, 1) of each structure."""
        *values, hidden = values
        batch = batch_index(data), num_structures(data)
        weights = next(iter(self.heads.values())).atom_weights(*batch).unsqueeze(1)
        features = sum_atoms(weights * torch.cat([hidden, torch.ones_like(weights)], 1), *batch)
        return *super().reduce(tuple(values), data), features


class _FeatureOutput(nn.Module):
    """Passes features on as they are."""

    target = Target(FEATURES, "1")

    def forward(self, result: Tensor, data: Data) -> Tensor:
        return result

    scaled = forward


def with_features(potential: nn.Module) -> nn.Module:
    """A potential with the same parts that predicts the features of its last layer too.

    Raises:
        InputError: where the energy is not linear in the last layer of a `SumReadout`.
    """
    check_last_layer(potential)
    readouts = readouts_of(potential.model)
    names = [target.name for target in potential.targets]
    heads = FeatureHeads(dict(zip(names, readouts, strict=True)))
    outputs = nn.ModuleList([*potential.outputs, _FeatureOutput()])
    return _with_parts(potential, heads.train(potential.training), outputs)


@torch.no_grad()
def unscaled_force_std(
    potential: nn.Module, data: Data, factor: Float[Tensor, "D D"]
) -> Float[Tensor, "N 3"]:
    """(Σ_k F_k²)^½ with the forces F_k of each column of L as last layer."""
    readout = copy.deepcopy(readouts_of(potential.model)[0])
    twin = _with_parts(potential, readout, nn.ModuleList(potential.outputs[:1]))
    total = torch.zeros_like(data.pos, dtype=torch.float64)
    for column in factor[:-1].T:  # without the row of the bias, on which no force depends
        readout.lin2.weight.copy_(column.unsqueeze(0))
        total += twin(data, forces=True).forces.double().square()
    return total.sqrt()


def check_last_layer(potential: nn.Module) -> None:
    """Raise `InputError` unless the energy is a sum of what a linear layer gives for each atom."""
    if not potential.has_energy:
        names = ", ".join(map(str, potential.targets))
        raise InputError(
            f"uncertainty is that of energies, but this model predicts {names}; take a model of "
            "energies"
        )
    readout = (readouts_of(potential.model) or [None])[0]
    forward = AtomReadout.forward
    if not isinstance(readout, SumReadout) or type(readout).forward is not forward:
        raise InputError(
            f"uncertainty needs an energy from SumReadout or MeanReadout, whose last layer is "
            f"linear, but the model has {type(readout).__name__}; take an ensemble of models"
        )


def _with_parts(potential: nn.Module, readout: nn.Module, outputs: nn.ModuleList) -> nn.Module:
    """A potential that shares all parts but readout and outputs, and the engine's readings."""
    model, twin = copy.copy(potential.model), copy.copy(potential)
    model._modules = {**model._modules, "readout": readout}
    twin._modules = {**twin._modules, "model": model, "outputs": outputs}
    twin.engine = type(potential.engine)(potential.spacing)
    return twin


def calibrated(layer: LastLayer | None, uncertainty: object) -> LastLayer:
    """What a potential was given by `train.calibrate`, or an `InputError` where that is nothing."""
    if uncertainty not in ("energy", "forces"):
        raise InputError(f"unknown uncertainty {uncertainty!r:.60}; known: energy, forces")
    if layer is None:
        raise InputError(
            "this model was not calibrated, so that it has no uncertainty; call "
            "schnetgeo.train.calibrate(potential, train, val)"
        )
    return layer
