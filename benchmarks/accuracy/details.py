"""What the report draws of one row: samples and sums that stay small whatever the test set."""

import csv
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.statistics import element_counts, fit_atomic_references
from schnetgeo.data.structure import MAX_Z, Structure, mask_name
from schnetgeo.potential import Prediction
from schnetgeo.units import KCAL_MOL

_POINTS = 400  # of a parity plot
_BINS = 41
_WORST = 3


def details(
    predicted: Prediction,
    test: StructureDataset,
    train: StructureDataset,
    unit: float = KCAL_MOL,
    label: str = "energy",
) -> dict:
    """Parity, errors and the worst structures of predictions on test structures.

    Energies are less what a composition model of the training structures gives, so that a parity
    plot shows what there was to learn.

    Args:
        predicted: for the structures of `test`.
        test: with labels.
        train: what the model was trained on.
        unit: of the numbers to draw, in the unit of the labels: kcal/mol in eV, or 1.
        label: the target that is drawn as the energy is.
    """
    found = {}
    worst = torch.zeros(len(test), dtype=torch.float64)
    if _any(label, test):
        known = test.mask(label)
        counts = element_counts(test, MAX_Z)[known]
        explained = counts.double() @ _explained(train, label)
        pair = [y[known] - explained for y in (test.get_property(label), predicted[label])]
        found["energy"] = _compared(*(value / unit for value in pair))
        error = ((pair[1] - pair[0]) / unit).abs()
        worst[known] = error
        found["by_size"] = _means(error, test.num_atoms[known])
        found["by_element"] = [
            [z, *_mean(error[counts[:, z] > 0])] for z in counts.any(0).nonzero().flatten().tolist()
        ]
    if _any("forces", test) and predicted.forces is not None:
        known = test.mask("forces")
        forces = [
            value.double()[known] for value in (test.get_property("forces"), predicted.forces)
        ]
        found["forces"] = _compared(*((value / unit).flatten() for value in forces))
        error = (forces[1] - forces[0]).abs().mean(1) / unit
        found["by_element_forces"] = _means(error, test.get_property("z")[known])
        owner = torch.arange(len(test)).repeat_interleave(test.num_atoms)[known]
        worst = worst.new_zeros(len(test)).index_add(0, owner, error) / test.num_atoms
    found["worst"] = _worst(worst, predicted, test, unit, label)
    return found


def history(folder: Path) -> list[dict[str, float]]:
    """Errors on validation structures by step, of the logs of a training."""
    points = {}
    for path in sorted(folder.glob("logs/version_*/metrics.csv")):
        with open(path) as file:
            for line in csv.DictReader(file):
                values = {k: float(v) for k, v in line.items() if v and k.startswith("val_")}
                if values and np.isfinite(list(values.values())).all():
                    points[int(line["step"])] = values
    steps = sorted(points)
    chosen = steps[:: max(1, len(steps) // 200)]  # a long training validates often
    return [{"step": step, **points[step]} for step in chosen]


def _explained(train: StructureDataset, label: str) -> Tensor:
    """Energy, or another label, of each element; fewer structures tell it as well."""
    some = train[torch.linspace(0, len(train) - 1, min(len(train), 5000)).long()]
    return fit_atomic_references(element_counts(some, MAX_Z), some.get_property(label))


def _compared(reference: Tensor, predicted: Tensor) -> dict:
    """A sample of pairs, and how many errors are in each of the bins."""
    chosen = np.random.default_rng(0).permutation(len(reference))[:_POINTS]
    error = (predicted - reference).numpy()
    edge = float(np.quantile(np.abs(error), 0.99)) or 1.0
    count, _ = np.histogram(error, _BINS, (-edge, edge))
    return {
        "points": _rounded(torch.stack([reference, predicted], 1)[chosen]),
        "edge": _rounded(torch.tensor(edge)),
        "histogram": count.tolist(),
        "outside": int(len(error) - count.sum()),
    }


def _means(error: Tensor, group: Tensor) -> list[list]:
    """Value of the group, mean error, and how many there are."""
    return [[int(k), *_mean(error[group == k])] for k in group.unique()]


def _mean(error: Tensor) -> list:
    return [_rounded(error.double().mean()), len(error)]


def _worst(
    error: Tensor, predicted: Prediction, test: StructureDataset, unit: float, label: str
) -> list[dict]:
    found = []
    first = torch.cat([torch.zeros(1, dtype=torch.int64), test.num_atoms.cumsum(0)])
    for index in error.argsort(descending=True, stable=True)[:_WORST].tolist():
        data = test[index]
        position = data.pos.double()
        structure = {
            "index": int(test.indices()[index]),
            "z": data.z.tolist(),
            "pos": _rounded(position - position.mean(0)),
            "error": _rounded(error[index]),
        }
        if _has(label, data):
            off = predicted[label][index] - data[label][0]
            structure["energy_error"] = _rounded(off / unit)
        if _has("forces", data) and predicted.forces is not None:
            own = predicted.forces[first[index] : first[index + 1]]
            structure["forces"] = [_rounded(data.forces / unit), _rounded(own / unit)]
        found.append(structure)
    return found


def _any(label: str, test: StructureDataset) -> bool:
    """Whether some structure has the label."""
    return test.has_property(label) and len(test.get_property(label)[test.mask(label)]) > 0


def _has(label: str, data: Structure) -> bool:
    """Whether this structure has the label, which others of its data set may have."""
    return data.get(label) is not None and bool(data.get(mask_name(label), True))


def _rounded(value: Tensor):
    """Numbers of four digits, for pictures."""
    return _nested(value.detach().double().tolist())


def _nested(value):
    return [_nested(v) for v in value] if isinstance(value, list) else float(f"{value:.4g}")
