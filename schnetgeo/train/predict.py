"""Predictions for all structures of a data set."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch_geometric.data import Batch

from schnetgeo.data.loader import ordered_loader
from schnetgeo.data.packed import StructureDataset
from schnetgeo.potential.ensemble import Ensemble
from schnetgeo.potential.potential import Potential
from schnetgeo.potential.prediction import Prediction
from schnetgeo.targets import STRESS
from schnetgeo.train.checks import check_not_empty


def predict(
    potential: Potential | Ensemble,
    dataset: StructureDataset,
    batch_size: int = 100,
    forces: bool | None = None,
    stress: bool = False,
) -> Prediction:
    """All targets of all structures, in their order and on the CPU; modes of parts are kept.

    Args:
        potential: what predicts.
        dataset: structures.
        batch_size: structures at once.
        forces: give forces too; unless told, where the potential predicts energies.
        stress: give stress too, NaN for structures without a cell.

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
            dict(_predict_batch(potential, batch.to(device), forces, stress).items())
            for batch in ordered_loader(dataset, batch_size)
        ]
    return Prediction.of({k: torch.cat([part[k].cpu() for part in parts]) for k in parts[0]})


def _predict_batch(
    potential: Potential | Ensemble, batch: Batch, forces: bool | None, stress: bool
) -> Prediction:
    cell = batch.get("cell")
    if not stress or (cell is not None and bool(torch.linalg.det(cell).any())):
        return potential(batch, forces=forces, stress=stress)
    prediction = potential(batch, forces=forces)
    no_stress = potential.scale.new_full((batch.num_graphs, 3, 3), torch.nan)
    return Prediction.of({**dict(prediction.items()), STRESS.name: no_stress})


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
