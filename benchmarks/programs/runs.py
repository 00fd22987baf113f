"""One structure in each program: energy, forces, and the time of a step of dynamics."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms

import schnetgeo as sg
from schnetgeo.geometry import edge_vectors
from schnetgeo.potential.tabulated import TabulatedPotential


class Files(NamedTuple):
    """The same model for all programs."""

    folder: Path
    model: Path
    tolerance: float
    fast: TabulatedPotential
    metatomic: Path | None
    pt2: Path | None


class Run(NamedTuple):
    """Of one structure."""

    energy: float  # eV
    forces: np.ndarray  # (N, 3), eV/Å
    seconds: float  # of a step


def seconds_per_step(run: Callable[[int], object], steps: int) -> float:
    """The fastest of ten blocks of steps, after one that warms up: other work only adds."""
    block, times = max(steps // 10, 3), []
    run(block)
    for _ in range(10):
        start = time.perf_counter()
        run(block)
        times.append((time.perf_counter() - start) / block)
    return min(times)


def path(atoms: Atoms, steps: int) -> Iterator[np.ndarray]:
    """Positions that move as little as in dynamics."""
    generator = np.random.default_rng(0)
    for _ in range(steps):
        yield atoms.positions + 0.01 * generator.standard_normal(atoms.positions.shape)


def python(atoms: Atoms, files: Files, steps: int) -> Run:
    """The tabulated potential itself, edges known."""
    data = sg.from_ase(atoms)
    data.edge_index, shift = sg.neighbor_list(data, files.fast.model.cutoff + 0.3)
    data.edge_cutoff = torch.tensor([files.fast.model.cutoff + 0.3], dtype=torch.float64)
    data.edge_shift = shift
    data.edge_reverse = sg.data.edges.reverse_edges(data.edge_index, shift, len(atoms))
    result, positions = files.fast(data), data.pos

    def block(count: int) -> None:
        for moved in path(atoms, count):
            data.pos = torch.from_numpy(moved)
            files.fast(data)

    seconds = seconds_per_step(block, steps)
    data.pos = positions
    return Run(float(result.energy), result.forces.double().numpy(), seconds)


def ase(atoms: Atoms, files: Files, steps: int) -> Run:
    """ASE's calculator."""
    return _by_calculator(atoms, sg.Calculator(files.fast), steps)


def metatomic_in_ase(atoms: Atoms, files: Files, steps: int) -> Run:
    """The file of metatomic in its own calculator for ASE."""
    from metatomic_ase import MetatomicCalculator

    return _by_calculator(atoms, MetatomicCalculator(files.metatomic, device="cpu"), steps)


def _by_calculator(atoms: Atoms, calculator, steps: int) -> Run:
    atoms = atoms.copy()
    atoms.calc, start = calculator, atoms.copy()
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()

    def block(count: int) -> None:
        for atoms.positions in path(start, count):
            atoms.get_forces()

    return Run(energy, forces, seconds_per_step(block, steps))


def pt2(atoms: Atoms, files: Files, steps: int) -> Run:
    """The package of AOTInductor, edges and vectors known."""
    package = torch._inductor.aoti_load_package(str(files.pt2))
    data = sg.from_ase(atoms)
    data.edge_index, data.edge_shift = sg.neighbor_list(data, files.fast.model.cutoff)
    dtype = torch.float64 if "float64" in package.get_metadata()["dtype"] else torch.float32
    inputs = data.z, data.edge_index, edge_vectors(data).to(dtype)

    def block(count: int) -> None:
        for _ in range(count):
            package(*inputs)

    energies, forces, _ = package(*inputs)
    seconds = seconds_per_step(block, steps)
    return Run(float(energies.sum()), forces.double().numpy(), seconds)
