"""Figures 1 to 5 of the milestone report, from the data that are there."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.accuracy.experiments import Subject
from benchmarks.accuracy.milestone1 import Result
from schnetgeo.data.distribution import distribution
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.statistics import element_counts
from schnetgeo.data.structure import MAX_Z
from schnetgeo.train import predict
from schnetgeo.viz import show
from schnetgeo.viz.distributions import draw_distributions

_ISOMER = {6: 7, 8: 2, 1: 10}  # C7O2H10, of which ISO17 is


def figures(results: list[Result], subjects: list[Subject], out: Path) -> Iterator[tuple[str, str]]:
    """Draw what can be drawn; gives the file and the caption of each.

    Args:
        results: of the protocol, with and without normalization.
        subjects: the data, in eV.
        out: folder for the pictures.
    """
    data = {(s.dataset, s.name): s.data for s in subjects}
    molecules = {name: d for (dataset, name), d in data.items() if dataset == "MD17"}
    reference = data.get(("ISO17", "ISO17"))
    if reference is not None:
        reference = reference[reference.pools.train]
    yield from _energies(molecules, out)
    yield from _isomers(reference, data.get(("QM9", "U0")), out)
    yield from _forces(reference, molecules, out)
    yield from _picture(molecules, out)
    yield from _predicted(results, out)


def _chosen(found: dict, wanted: str) -> tuple[str, str]:
    """The wanted molecule or the first one, and what the caption says of another."""
    name = wanted if wanted in found else next(iter(found))
    return name, "" if name == wanted else f", for want of {wanted}"


def _energies(molecules: dict[str, StructureDataset], out: Path) -> Iterator[tuple[str, str]]:
    if molecules:
        name, instead = _chosen(molecules, "ethanol")
        draw_distributions({"energy, eV": distribution(molecules[name], "energy")},
                           out / "figure1.png")  # fmt: skip
        number = len(molecules[name])
        yield "figure1.png", f"Figure 1: energies of {name}{instead}, {number:,} frames of MD17."


def _isomers(
    reference: StructureDataset | None, qm9: StructureDataset | None, out: Path
) -> Iterator[tuple[str, str]]:
    drawn, what = reference, "of ISO17's fold reference, a normal and a pair of normals"
    if reference is None and qm9 is not None:
        counts = element_counts(qm9, MAX_Z)
        same = torch.stack([counts[:, z] == n for z, n in _ISOMER.items()]).all(0)
        drawn, what = qm9[same], "of C7O2H10 in QM9, for want of ISO17, which has other energies"
    if drawn is not None and len(drawn):
        draw_distributions({"energy, eV": distribution(drawn, "energy")}, out / "figure2.png")
        yield "figure2.png", f"Figure 2: energies of {len(drawn):,} structures {what}."


def _forces(
    reference: StructureDataset | None, molecules: dict[str, StructureDataset], out: Path
) -> Iterator[tuple[str, str]]:
    drawn, what = reference, "ISO17's fold reference"
    if reference is None and molecules:
        name, _ = _chosen(molecules, "ethanol")
        drawn, what = molecules[name], f"{name}, for want of ISO17"
    if drawn is not None:
        draw_distributions(
            {
                f"{axis} of the force, eV/Å": distribution(drawn, "forces", component=k)
                for k, axis in enumerate("xyz")
            },
            out / "figure3.png",
        )
        yield "figure3.png", f"Figure 3: components of the forces of {what}."


def _picture(molecules: dict[str, StructureDataset], out: Path) -> Iterator[tuple[str, str]]:
    if molecules:
        name, instead = _chosen(molecules, "aspirin")
        show(molecules[name][0], forces=True, path=out / "figure4.png")
        yield "figure4.png", f"Figure 4: {name}{instead}, with the forces on its atoms."


def _predicted(results: list[Result], out: Path) -> Iterator[tuple[str, str]]:
    found = {
        r.row["molecule"]: r for r in results
        if r.row["dataset"] == "MD17" and r.row["task"] == "energy" and "normal" in r.row["model"]
    }  # fmt: skip
    if not found:
        return
    name, instead = _chosen(found, "aspirin")
    result = found[name]
    energy = result.structures.get_property("energy").numpy()
    predicted = predict(result.potential, result.structures, forces=False).energy.numpy()
    figure = Figure(figsize=(5.2, 3.8), layout="constrained")
    axes = figure.subplots()
    both = np.concatenate([energy, predicted]) - energy.mean()
    edges = np.linspace(both.min(), both.max(), 60)
    for values, label in ((energy, "data"), (predicted, "normalized baseline")):
        axes.hist(values - energy.mean(), edges, density=True, alpha=0.6, label=label)
    axes.set_xlabel("energy less its mean, kcal/mol")
    axes.set_ylabel("density")
    axes.legend(frameon=False)
    figure.savefig(out / "figure5.png", dpi=150)
    yield "figure5.png", _caption(f"{name}{instead}", energy, predicted)


def _caption(name: str, energy: np.ndarray, predicted: np.ndarray) -> str:
    return (
        f"Figure 5: energies of {name} in the data, and as the normalized baseline predicts them, "
        f"{len(energy):,} frames. Standard deviations are {energy.std():.2g} and "
        f"{predicted.std():.2g} kcal/mol: the baseline hardly tells the frames apart."
    )
