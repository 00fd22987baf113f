"""References and scales of a potential from the labels of its training structures."""

import torch

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.statistics import fit_normalization, root_mean_square
from schnetgeo.potential.arguments import readouts_of
from schnetgeo.potential.potential import Potential


@torch.no_grad()
def normalize(potential: Potential, train: StructureDataset) -> None:
    """Fit references and scale of each target; a readout in a unit, as e·Å, keeps its scale.

    Args:
        potential: before training.
        train: structures to learn from.
    """
    train, outputs = train.transformed(), potential.outputs
    readouts = readouts_of(potential.model) or [None] * len(outputs)
    for output, readout in zip(outputs, readouts, strict=True):
        label, references = output.target.name, output.atomic_references
        if references is not None:
            max_z, mean = potential.model.max_z, references.mean
            fitted = fit_normalization(train, max_z, mean, label)
            references.values.copy_(fitted.atomic_references)
            output.scale.fill_(fitted.scale)
        elif readout is None or readout.unit is None:
            output.scale.fill_(root_mean_square(train, label))
