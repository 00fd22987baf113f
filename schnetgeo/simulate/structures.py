"""Atoms that a simulation starts from, and the frames that it leaves."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from schnetgeo.datasets.write import frame_text
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_write
from schnetgeo.simulate.calculator import Calculator
from schnetgeo.simulate.model_source import AnyPotential

Model = str | os.PathLike | AnyPotential | Calculator


def with_model(atoms: Atoms, model: Model) -> Atoms:
    """A copy of the atoms with a calculator; constraints stay.

    Args:
        atoms: molecule or crystal.
        model: model file, potential, or a calculator, which is taken as it is.

    Raises:
        InputError: as `Calculator`, and for no atoms.
    """
    if not len(atoms):
        raise InputError("atoms: there are none; give a structure")
    copy = atoms.copy()
    copy.calc = model if isinstance(model, Calculator) else Calculator(model)
    return copy


def needs_cell(atoms: Atoms, why: str) -> None:
    """Raise `InputError` unless the atoms have a cell with a volume."""
    if atoms.cell.rank < 3:
        raise InputError(f"{why} needs a cell with a volume, but the structure has none; set one")


def frame(atoms: Atoms) -> Atoms:
    """A copy with the results that are there, which nothing computes again."""
    copy = atoms.copy()
    copy.set_constraint()
    results = {k: v for k, v in atoms.calc.results.items() if k in ("energy", "forces", "stress")}
    if atoms.constraints and "forces" in results:
        results["forces"] = atoms.get_forces(apply_constraint=False)
    copy.calc = SinglePointCalculator(copy, **results)
    return copy


def write_frames(path: str | os.PathLike, frames: Iterable[Atoms]) -> None:
    """Write frames as extended XYZ with all digits, whole or not at all."""
    atomic_write(Path(path), "".join(map(frame_text, frames)).encode())


def largest_force(atoms: Atoms) -> float:
    """Length of the largest force on an atom, eV/Å; constraints count."""
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())
