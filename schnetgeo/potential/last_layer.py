"""The uncertainty of one potential, from the last layer of its energy."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.errors import InputError
from schnetgeo.potential.features import FEATURES, unscaled_force_std, with_features
from schnetgeo.potential.posterior import embedding
from schnetgeo.potential.prediction import Prediction
from schnetgeo.potential.uncertainty import Uncertainty


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
        if of_forces:  # many predictions share the edges
            data = potential.with_edges(data)
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


def calibrated(layer: LastLayer | None, uncertainty: object) -> LastLayer:
    """What a potential was given by `train.calibrate`, or an `InputError` where that is nothing."""
    if uncertainty not in ("energy", "forces"):
        raise InputError(f"unknown uncertainty {uncertainty!r:.60}; known: energy, forces")
    if layer is None:
        raise InputError(
            "this model was not calibrated, so that it has no uncertainty; call "
            "schnetgeo.train.calibrate(potential, train, val) (schnetgeo calibrate)"
        )
    return layer
