"""One evaluation of a potential as programs of molecular dynamics ask for it."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Union

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers
from ase.stress import voigt_6_to_full_3x3_stress

from schnetgeo.data.structure import Structure
from schnetgeo.data.validate import check_elements
from schnetgeo.errors import InputError
from schnetgeo.potential import Ensemble, Potential, load
from schnetgeo.simulate.calculator import Calculator
from schnetgeo.simulate.model_source import tabulated_or_same

if TYPE_CHECKING:
    from schnetgeo.potential.tabulated import TabulatedPotential

Runnable = Union[str, os.PathLike, Potential, "TabulatedPotential", Calculator]  # noqa: UP007


TOLERANCE = 1e-5  # relative error of tabulated filters


class Result(NamedTuple):
    """Of one structure."""

    energy: float  # eV
    forces: np.ndarray  # (N, 3), eV/Å
    virial: np.ndarray  # −∂E/∂strain (3, 3), eV; 0 for a cell without volume


class Step:
    """Energy, forces and virial of one structure whose positions and cell change.

    Args:
        potential: a model file, a potential, or a calculator.
        numbers: atomic numbers (N,).
        pbc: whether each direction is periodic.

    Raises:
        InputError: as `Calculator`, and for elements that the potential does not know.
    """

    def __init__(self, potential: Runnable, numbers: Sequence[int], pbc: Sequence[bool]):
        self.calculator = as_calculator(potential)
        self.atoms = Atoms(numbers=numbers, positions=np.zeros((len(numbers), 3)), pbc=pbc)
        check_known(self.calculator.potential, self.atoms.numbers)

    def __call__(self, positions: np.ndarray, cell: np.ndarray) -> Result:
        """The result for positions (N, 3) and a cell (3, 3), rows, both in Å."""
        atoms, calculator = self.atoms, self.calculator
        atoms.positions[...] = positions
        atoms.cell.array[...] = cell
        has_volume = atoms.cell.rank == 3
        wanted = ("energy", "forces", "stress") if has_volume else ("energy", "forces")
        calculator.calculate(atoms, wanted, ["positions", "cell"])
        of, virial = calculator.results, np.zeros((3, 3))
        if has_volume:
            virial = -voigt_6_to_full_3x3_stress(of["stress"]) * atoms.cell.volume
        return Result(of["energy"], of["forces"], virial)


def as_calculator(potential: Runnable) -> Calculator:
    """A calculator as it is, or that of a potential.

    On the CPU the filters of a file or `Potential` are tabulated to a relative error of 1e-5, where
    the engine reads the model: give a calculator for anything else.

    Raises:
        InputError: as `Calculator`, and for an ensemble.
    """
    if isinstance(potential, Ensemble):
        raise InputError(
            "potential is an ensemble, but other programs run one model; give one of its members"
        )
    if isinstance(potential, Calculator):
        return potential
    if isinstance(potential, str | os.PathLike):
        potential = load(potential)
    if isinstance(potential, Potential) and potential.scale.device.type == "cpu":
        potential = tabulated_or_same(potential, TOLERANCE)
    return Calculator(potential)


def check_known(potential: "Potential | TabulatedPotential", numbers: np.ndarray) -> None:
    """Raise `InputError` for an atom of an element that the potential does not know."""
    data = Structure(z=torch.from_numpy(np.unique(numbers)).long())
    check_elements(data, potential.model.max_z, "structure")
    if potential.trained_on is not None:
        potential.trained_on.check_elements(data)


def numbers_of(elements: Sequence[str]) -> list[int]:
    """Atomic numbers of symbols.

    Raises:
        InputError: for what is no symbol.
    """
    unknown = [symbol for symbol in elements if symbol not in atomic_numbers or symbol == "X"]
    if unknown:
        raise InputError(f"elements must be symbols such as 'Si', got {unknown[0]!r}")
    return [atomic_numbers[symbol] for symbol in elements]
