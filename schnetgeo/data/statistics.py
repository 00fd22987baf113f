"""Reference energies and scale, fitted in float64 on the training split."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from ase.data import chemical_symbols
from ase.formula import Formula
from jaxtyping import Float, Int
from torch import Tensor

from schnetgeo.data.packed import StructureDataset


class Normalization(NamedTuple):
    """What a potential adds to and multiplies its model with."""

    atomic_references: Float[Tensor, "Z"]  # eV, a row per atomic number
    scale: float  # eV


def element_counts(dataset: StructureDataset, max_z: int) -> Int[Tensor, "B Z"]:
    """Number of atoms of each element in each structure."""
    sizes = dataset.num_atoms
    structure = torch.arange(len(sizes)).repeat_interleave(sizes)
    cell = structure * max_z + dataset.get_property("z")
    return cell.bincount(minlength=len(sizes) * max_z).reshape(len(sizes), max_z)


def formula(counts: Mapping[int, int]) -> str:
    """Chemical formula in the order of Hill, such as C2H6O, of the atoms of each atomic number."""
    symbols = {chemical_symbols[z]: number for z, number in counts.items() if number}
    return Formula.from_dict(symbols).format("hill")


def reference_weights(dataset: StructureDataset, max_z: int, mean: bool) -> Float[Tensor, "B Z"]:
    """What the reference of each element counts for each structure: its atoms, or their share."""
    counts = element_counts(dataset, max_z).double()
    return counts / counts.sum(1, keepdim=True) if mean else counts


def fit_atomic_references(
    counts: Int[Tensor, "B Z"], energy: Float[Tensor, "B"]
) -> Float[Tensor, "Z"]:
    """argmin_e0 |counts · e0 − energy|², in eV: the smallest solution where there are many.

    One composition, as in MD17, leaves all but one direction undetermined; the minimum-norm
    solution then reproduces the mean energy exactly.
    """
    known = energy.isfinite()  # those of structures without this label are nan
    counts, energy = counts[known], energy[known]
    present = counts.any(0)
    design = counts[:, present].double()
    solution = torch.linalg.lstsq(design, energy.double().unsqueeze(1), driver="gelsd")
    references = torch.zeros(counts.size(1), dtype=torch.float64)
    references[present] = solution.solution.squeeze(1)
    return references


def fit_normalization(
    dataset: StructureDataset, max_z: int, mean: bool = False, label: str = "energy"
) -> Normalization:
    """References from a label, the energies; scale from what the references leave, or from forces.

    The scale is the root mean square of what the references leave of the label, per square root of
    the number of atoms; of energies with forces that of the force components (per Å).

    Args:
        dataset: training structures.
        max_z: rows of the table of references.
        mean: whether the model, and with it the references, is a mean over atoms: then the
            residual is not divided.
        label: a scalar of each structure.
    """
    dataset = dataset.transformed()
    references = torch.zeros(max_z, dtype=torch.float64)
    if dataset.has_property(label):
        references = fit_atomic_references(*_reduced(dataset, max_z, mean, label))
    total, number = 0.0, 1e-300
    for block in dataset.iter_chunks():
        spread = _spread(block, references, mean, label)
        total, number = total + float(spread.square().sum()), number + spread.numel()
    return Normalization(references, _usable(math.sqrt(total / number)))


def root_mean_square(dataset: StructureDataset, label: str) -> float:
    """Of all components of a label; 1 where it is missing or zero."""
    total, number = 0.0, 1e-300
    for block in dataset.transformed().iter_chunks():
        if block.has_property(label):
            values = block.get_property(label)[block.mask(label)].double()
            total, number = total + float(values.square().sum()), number + values.numel()
    return _usable(math.sqrt(total / number))


def _usable(scale: float) -> float:
    """A scale, or 1 where the labels do not differ."""
    return scale if scale > 1e-6 else 1.0


def _spread(block: StructureDataset, references: Tensor, mean: bool, label: str) -> Tensor:
    """Force components, or what the references leave of the label (per √N), in float64."""
    if label == "energy" and block.has_property("forces"):
        return block.get_property("forces")[block.mask("forces")].double()
    if not block.has_property(label):
        return torch.zeros(1, dtype=torch.float64)
    residual = (
        block.get_property(label) - reference_weights(block, len(references), mean) @ references
    )
    spread = residual if mean else residual / block.num_atoms.sqrt()
    return spread[block.mask(label)]


def _reduced(
    dataset: StructureDataset, max_z: int, mean: bool, label: str
) -> tuple[Tensor, Tensor]:
    """Shares and labels, or fewer rows that have the same least-squares solutions.

    The triangle of a QR decomposition stands for all rows before it, so memory holds one block.
    """
    rows = torch.empty(0, max_z + 1, dtype=torch.float64)
    for block in dataset.iter_chunks():
        if len(rows):
            rows = torch.linalg.qr(rows, mode="r").R
        column = block.get_property(label).double().unsqueeze(1)
        known = torch.cat([reference_weights(block, max_z, mean), column], dim=1)[block.mask(label)]
        rows = torch.cat([rows, known])
    return rows[:, :-1], rows[:, -1]
