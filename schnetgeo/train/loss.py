"""Losses of the three tasks."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Batch

from schnetgeo.errors import InputError
from schnetgeo.potential.prediction import Prediction

Task = Literal["energy", "forces", "energy_and_forces"]
TASKS = ("energy", "forces", "energy_and_forces")
LABELS = {
    "energy": ("energy",),
    "forces": ("forces",),
    "energy_and_forces": ("energy", "forces"),
}


class Sum(NamedTuple):
    """A sum over structures that have a label, and their number."""

    total: Tensor
    count: Tensor | int


class Loss:
    """ℓ = ρ (E − Ê)² + (1/n) Σ_i |F_i − F̂_i|², the mean over structures, in eV² (and eV²/Å²).

    The task "energy" has the first term alone with ρ = 1, "forces" the second alone. With
    `kind="mae"` a single task is the mean absolute error instead.

    Structures that lack a label, by `energy_mask` or `forces_mask`, are left out of the mean over
    that label.

    Args:
        task: one of `TASKS`.
        rho: ρ, Å⁻² by its place in the sum; the paper has 0.01.
        kind: "mse" or "mae".

    Source: Schütt et al., NeurIPS 2017, arXiv:1706.08566.
    """

    def __init__(self, task: Task, rho: float = 0.01, kind: Literal["mse", "mae"] = "mse"):
        if task not in TASKS:
            raise InputError(f"unknown task {task!r}; known: {', '.join(TASKS)}")
        if kind not in ("mse", "mae"):
            raise InputError(f"unknown loss {kind!r}; known: mse, mae")
        if kind == "mae" and task == "energy_and_forces":
            raise InputError("loss 'mae' is for one kind of label; use mse for energy_and_forces")
        self.needs_energy = "energy" in LABELS[task]
        self.needs_forces = "forces" in LABELS[task]
        self.rho = rho if task == "energy_and_forces" else 1.0
        self.squared = kind == "mse"

    def __call__(self, prediction: Prediction, batch: Batch) -> Tensor:
        return self.mean(self.sums(prediction, batch))

    def sums(self, prediction: Prediction, batch: Batch) -> list[Sum]:
        """One for each kind of label that the task needs, in the order of `LABELS`."""
        sums = []
        if self.needs_energy:
            mask = batch.get("energy_mask")
            error = prediction.energy - batch.energy.to(prediction.energy.device)
            sums.append(_sum(self._size(_known(error, mask)), mask))
        if self.needs_forces:
            mask = batch.get("forces_mask")
            error = prediction.forces - batch.forces.to(prediction.forces.dtype)
            error = _known(error, None if mask is None else mask[batch.batch].unsqueeze(1))
            sums.append(_sum(self._per_structure(self._size(error), batch), mask))
        return sums

    def mean(self, sums: list[Sum]) -> Tensor:
        """ℓ from sums over one batch, or over several whose sums and counts were added."""
        weights = (self.rho, 1.0) if self.needs_energy and self.needs_forces else (1.0,)
        terms = zip(weights, sums, strict=True)
        return sum(weight * total / (count + (count == 0)) for weight, (total, count) in terms)

    def _size(self, error: Tensor) -> Tensor:
        return error.square() if self.squared else error.abs()

    def _per_structure(self, size: Tensor, batch: Batch) -> Tensor:
        """Σ over the three components (their mean for "mae"), mean over the atoms of each."""
        atoms = batch.ptr.diff()
        per_atom = size.sum(1) if self.squared else size.mean(1)
        zeros = per_atom.new_zeros(batch.num_graphs)
        return zeros.index_add(0, batch.batch, per_atom) / atoms


def add_sums(batches: Iterable[list[Sum]]) -> list[Sum]:
    """The sums over all structures of several batches."""
    return [
        Sum(sum(part.total for part in parts), sum(part.count for part in parts))
        for parts in zip(*batches, strict=True)
    ]


def _known(error: Tensor, mask: Tensor | None) -> Tensor:
    """Errors of labels that are there, 0 of others, whose gradient is 0 as well."""
    return error if mask is None else torch.where(mask, error, 0.0)


def _sum(size: Tensor, mask: Tensor | None) -> Sum:
    """Over the structures that have the label; it is 0 for the others."""
    return Sum(size.sum(), len(size) if mask is None else mask.sum())
