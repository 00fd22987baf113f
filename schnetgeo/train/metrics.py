"""Mean errors of one target."""

from typing import NamedTuple

import torch
from torch import Tensor

from schnetgeo.targets import Target
from schnetgeo.train.shown_units import column, prefix, shown_units


class Metrics(NamedTuple):
    """Errors of one target, in its unit; of a vector or tensor, those of its components."""

    target: Target
    count: int  # of structures, or atoms, with the label
    mae: float
    rmse: float
    mae_per_atom: float | None  # where values of structures are extensive numbers
    rmse_per_atom: float | None
    r2: float | None  # 1 − Σ (y − ŷ)² / Σ (y − ȳ)²; None for labels that are all the same
    cosine: float | None  # mean of y·ŷ / |y||ŷ| over vectors, without those that are 0

    def as_row(self) -> dict[str, float | str]:
        """Entries of results.json, in the first unit that people read."""
        target, unit = self.target, shown_units(self.target)[0]
        row = {
            column(target, "mae"): self.mae * unit.factor,
            column(target, "rmse"): self.rmse * unit.factor,
        }
        if self.mae_per_atom is not None:
            row[column(target, "mae_per_atom")] = self.mae_per_atom * unit.factor
        row |= {f"{prefix(target)}_r2": self.r2, f"{prefix(target)}_cosine": self.cosine}
        if not unit.suffix:
            row[f"{prefix(target)}_unit"] = target.unit
        return {key: value for key, value in row.items() if value is not None}


def metrics_of(target: Target, label: Tensor, value: Tensor, atoms: Tensor | None) -> Metrics:
    """Errors of values (M, …) against labels, and per atom where numbers of atoms are given."""
    label, value = label.double().reshape(len(label), -1), value.double().reshape(len(value), -1)
    error = value - label
    per_atom = (None, None) if atoms is None else _mae_rmse(error / atoms.unsqueeze(1))
    spread = (label - label.mean(0)).square().sum()
    r2 = float(1 - error.square().sum() / spread) if spread > 0 else None
    cosine = _cosine(label, value) if target.shape == (3,) else None
    return Metrics(target, len(label), *_mae_rmse(error), *per_atom, r2, cosine)


def _mae_rmse(error: Tensor) -> tuple[float, float]:
    return float(error.abs().mean()), float(error.square().mean().sqrt())


def _cosine(label: Tensor, value: Tensor) -> float | None:
    lengths = torch.linalg.vector_norm(label, dim=1) * torch.linalg.vector_norm(value, dim=1)
    there = lengths > 0
    if not there.any():
        return None
    return float(((label * value).sum(1)[there] / lengths[there]).mean())
