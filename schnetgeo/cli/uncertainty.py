"""Uncertainties of a model for all structures of a data set, and its errors."""

import numpy as np
import torch
from torch import Tensor

from schnetgeo.data.loader import ordered_loader
from schnetgeo.data.packed import StructureDataset
from schnetgeo.errors import InputError
from schnetgeo.potential import Ensemble, Potential
from schnetgeo.potential.last_layer import calibrated
from schnetgeo.potential.uncertainty import Uncertainty


def uncertainty_errors(
    potential: Potential | Ensemble, test: StructureDataset
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Errors and standard deviations of energies (eV) and forces (eV/Å) that have labels."""
    spread, energy, forces = predict_uncertainty(
        potential, test, forces=test.has_property("forces")
    )
    curves = {}
    for name, unit, value, std in (
        ("energy", "eV", energy, spread.energy), ("forces", "eV/Å", forces, spread.forces),
    ):  # fmt: skip
        if test.has_label(name) and std is not None:
            known = test.mask(name)
            errors = (value - test.get_property(name))[known].flatten().double().numpy()
            curves[f"{name}, {unit}"] = errors, std[known].flatten().double().numpy()
    if not curves:
        raise InputError(f"{test.name}: has no energies to test with; name their key")
    return curves


def check_uncertainty(potential: Potential | Ensemble) -> None:
    """Raise `InputError` for a model that does not say how sure it is."""
    if not potential.has_energy:
        raise InputError(
            f"uncertainty is that of energies, but this model predicts "
            f"{', '.join(map(str, potential.targets))}; take a model of energies"
        )
    if isinstance(potential, Potential):
        calibrated(potential.last_layer, "energy")


def predict_uncertainty(
    potential: Potential | Ensemble, dataset: StructureDataset, forces: bool
) -> tuple[Uncertainty, Tensor, Tensor | None]:
    """Uncertainties, energies and forces of all structures."""
    check_uncertainty(potential)
    if potential.trained_on is not None:
        potential.trained_on.check_dataset(dataset)
    options = {"forces": forces}
    if isinstance(potential, Potential):
        of_forces = forces and bool(potential.last_layer and potential.last_layer.force_scale)
        options["uncertainty"] = "forces" if of_forces else "energy"
    parts = [potential(batch, **options) for batch in ordered_loader(dataset, 100)]
    spreads = [part.uncertainty for part in parts]
    has_forces = spreads[0].forces is not None
    spread = Uncertainty(
        torch.cat([s.points for s in spreads]),
        torch.cat([s.forces for s in spreads]) if has_forces else None,
    )
    energy = torch.cat([part.energy for part in parts])
    return spread, energy, torch.cat([part.forces for part in parts]) if forces else None
