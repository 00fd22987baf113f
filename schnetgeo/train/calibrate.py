"""The uncertainty of a trained potential, from its training and validation structures."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch_geometric.data import Batch

from schnetgeo.data.copies import geometry_hashes
from schnetgeo.data.loader import ordered_loader
from schnetgeo.data.packed import StructureDataset
from schnetgeo.errors import InputError
from schnetgeo.notes import note
from schnetgeo.potential.features import FEATURES, unscaled_force_std, with_features
from schnetgeo.potential.last_layer import LastLayer
from schnetgeo.potential.posterior import fit_posterior
from schnetgeo.potential.potential import Potential
from schnetgeo.train.checks import check_not_empty
from schnetgeo.train.predict import evaluation_mode

_MAX_FORCES = 200  # structures whose forces calibrate those of all


@torch.no_grad()
def calibrate(
    potential: Potential, train: StructureDataset, val: StructureDataset, batch_size: int = 100
) -> None:
    """Give a potential `last_layer`, with which its predictions say how sure they are.

        calibrate(potential, train, val)
        potential(data, uncertainty=True).uncertainty.energy  # eV
        potential.save("model.safetensors")

    The covariance is that of the last layer's features on the training structures; two scales, for
    energies and for forces, come from the errors on validation structures, which are to be like
    those that will be predicted.

    Args:
        potential: trained, with an energy from a `SumReadout`.
        train: what it was trained on.
        val: 10 labeled structures or more that it was not trained on; 100 give the scale to 7 %.

    Raises:
        InputError: for another readout, and validation structures that are too few.
    """
    check_energies(train, "train")
    check_energies(val, "val")
    _note_copies(train, val)
    featured = with_features(potential)
    with evaluation_mode(potential), evaluation_mode(featured):
        seen, _ = _features(featured, train, batch_size)
        unseen, energy = _features(featured, val, batch_size)
        known = val.mask("energy")
        errors = (energy - val.get_property("energy").double())[known]
        posterior = fit_posterior(seen[train.mask("energy")], unseen[known], errors)
        layer = LastLayer(seen.size(1)).to(potential.scale.device)
        layer.factor.copy_(posterior.factor)
        if val.has_property("forces"):
            layer.force_scale.copy_(
                _force_scale(potential, val[:: -(-len(val) // _MAX_FORCES)], layer.factor)
            )
    potential.last_layer = layer


def check_energies(dataset: StructureDataset, name: str) -> None:
    """Raise `InputError` unless a data set has energies."""
    check_not_empty(name, dataset)
    if not dataset.has_property("energy"):
        raise InputError(f"{name} has no energies, of which the uncertainty is; add them")


def _note_copies(train: StructureDataset, val: StructureDataset) -> None:
    """Say so where structures to validate with are among those of the training."""
    seen = {*geometry_hashes(train)}
    number = sum(mark in seen for mark in geometry_hashes(val))
    if number:
        note(
            f"{val.name}: {number:,} of {len(val):,} structures in val are copies of trained ones, "
            "whose errors are too small to tell those of others; give structures not trained on"
        )


def _features(
    featured: Potential, dataset: StructureDataset, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Features (B, D) and energies (B,) of all structures."""
    parts = [featured(batch, forces=False) for batch in _batches(featured, dataset, batch_size)]
    return torch.cat([p[FEATURES].cpu() for p in parts]), torch.cat([p.energy.cpu() for p in parts])


def _force_scale(potential: Potential, val: StructureDataset, factor: Tensor) -> Tensor:
    """β = ⟨error² / variance⟩^½ over force components whose variance is not 0."""
    errors, spreads = [], []
    for batch in _batches(potential, val, len(val)):
        errors.append(potential(batch, forces=True).forces.double() - batch.forces)
        spreads.append(unscaled_force_std(potential, batch, factor))
    error, spread = torch.cat(errors).cpu(), torch.cat(spreads).cpu()
    known = (spread > 0) & error.isfinite() & _labeled(val, len(error))
    return (error[known] / spread[known]).square().mean().sqrt()


def _labeled(val: StructureDataset, number: int) -> Tensor:
    """Whether each atom's forces are labels, (N, 1)."""
    mask = torch.zeros(number, dtype=torch.bool)
    mask[val.mask("forces")] = True
    return mask.unsqueeze(1)


def _batches(potential: Potential, dataset: StructureDataset, batch_size: int) -> Iterator[Batch]:
    for batch in ordered_loader(dataset, batch_size):
        yield batch.to(potential.scale.device)
