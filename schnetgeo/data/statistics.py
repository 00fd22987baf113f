"""Reference energies and scale, fitted in float64 on the training split."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from schnetgeo.data.packed import PackedDataset


class Normalization(NamedTuple):
    """What a potential adds to and multiplies its model with."""

    references: Float[Tensor, "Z"]  # eV, a row per atomic number
    scale: float  # eV


def compositions(dataset: PackedDataset, max_z: int) -> Int[Tensor, "B Z"]:
    """Number of atoms of each element in each structure."""
    sizes = dataset.num_atoms
    structure = torch.arange(len(sizes)).repeat_interleave(sizes)
    cell = structure * max_z + dataset.values("z")
    return cell.bincount(minlength=len(sizes) * max_z).reshape(len(sizes), max_z)


def fit_composition(counts: Int[Tensor, "B Z"], energy: Float[Tensor, "B"]) -> Float[Tensor, "Z"]:
    """argmin_e0 |counts · e0 − energy|², in eV: the smallest solution where there are many.

    One composition, as in MD17, leaves all but one direction undetermined; the minimum-norm
    solution then reproduces the mean energy exactly.
    """
    present = counts.any(0)
    design = counts[:, present].double()
    solution = torch.linalg.lstsq(design, energy.double().unsqueeze(1), driver="gelsd")
    references = torch.zeros(counts.size(1), dtype=torch.float64)
    references[present] = solution.solution.squeeze(1)
    return references


def fit_normalization(dataset: PackedDataset, max_z: int) -> Normalization:
    """References from the energies; scale from the forces, or from what the references leave.

    The scale is the root mean square of the force components (per Å) where there are forces, else
    of the energy residual per square root of the number of atoms.
    """
    references = torch.zeros(max_z, dtype=torch.float64)
    residual = torch.zeros(1, dtype=torch.float64)
    if dataset.has("energy"):
        counts = compositions(dataset, max_z)
        references = fit_composition(counts, dataset.values("energy"))
        residual = dataset.values("energy") - counts.double() @ references
        residual = residual / dataset.num_atoms.sqrt()
    spread = dataset.values("forces").double() if dataset.has("forces") else residual
    scale = float(spread.square().mean().sqrt())
    return Normalization(references, scale if scale > 1e-6 else 1.0)
