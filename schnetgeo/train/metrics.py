"""Errors on structures that the model has not seen."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from schnetgeo.data.loader import ordered_loader
from schnetgeo.data.packed import StructureDataset
from schnetgeo.potential.potential import Potential
from schnetgeo.train.checks import check_label, check_not_empty
from schnetgeo.units import KCAL_MOL


class Metrics(NamedTuple):
    """Energy per structure (eV) and force per component (eV/Å); `None` without such labels."""

    energy_mae: float | None
    energy_rmse: float | None
    force_mae: float | None
    force_rmse: float | None

    def as_row(self) -> dict[str, float]:
        """The same in kcal/mol and kcal/mol/Å under the names of results.json."""
        unit = {"energy": "kcal_mol", "force": "kcal_mol_A"}
        return {
            f"{name}_{unit[name.partition('_')[0]]}": value / KCAL_MOL
            for name, value in self._asdict().items()
            if value is not None
        }


class DatasetPrediction(NamedTuple):
    """Predictions for a whole data set, in its order."""

    energy: Tensor  # (B,) eV, float64
    forces: Tensor | None  # (ΣN, 3) eV/Å


def predict(
    potential: Potential, dataset: StructureDataset, batch_size: int = 100, forces: bool = True
) -> DatasetPrediction:
    """Energies and, if asked, forces of all structures; the modes of all parts are kept.

    Raises:
        InputError: for a loader or list, no structures, or elements that no training structure of
            the potential has.
    """
    check_not_empty("dataset", dataset)
    if potential.trained_on is not None:
        potential.trained_on.check_dataset(dataset)
    device = potential.scale.device
    with evaluation_mode(potential):
        parts = [
            potential(batch.to(device), forces=forces)
            for batch in ordered_loader(dataset, batch_size)
        ]
    energy = torch.cat([p.energy.cpu() for p in parts])
    return DatasetPrediction(energy, torch.cat([p.forces.cpu() for p in parts]) if forces else None)


@contextlib.contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode within a block; afterwards every part has the mode that it had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def evaluate(potential: Potential, dataset: StructureDataset, batch_size: int = 100) -> Metrics:
    """Mean absolute and root mean square errors against the labels that the data set has.

    Raises:
        InputError: as `predict`, and for labels that are nan and not left out by their mask.
    """
    check_not_empty("dataset", dataset)
    dataset = dataset.transformed()
    for label in filter(dataset.has_property, ("energy", "forces")):
        check_label(dataset, label)
    predicted = predict(potential, dataset, batch_size, forces=dataset.has_property("forces"))
    return compute_metrics(predicted, dataset)


def compute_metrics(predicted: DatasetPrediction, dataset: StructureDataset) -> Metrics:
    """Errors of predictions that are there already."""
    energy = forces = (None, None)
    if dataset.has_property("energy"):
        energy = _mae_rmse(
            (predicted.energy - dataset.get_property("energy"))[dataset.mask("energy")]
        )
    if dataset.has_property("forces") and predicted.forces is not None:
        forces = _mae_rmse(
            (predicted.forces - dataset.get_property("forces"))[dataset.mask("forces")]
        )
    return Metrics(*energy, *forces)


def _mae_rmse(error: Tensor) -> tuple[float | None, float | None]:
    if not len(error):  # none of these structures has the label
        return None, None
    error = error.double()
    return float(error.abs().mean()), float(error.square().mean().sqrt())
