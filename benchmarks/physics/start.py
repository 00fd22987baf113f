"""Where the checks start: models as calculators, and a structure that they relaxed."""

import copy
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.optimize import BFGS

from benchmarks.physics.bonds import find_bonds, lengths
from benchmarks.physics.findings import Checked, Finding
from schnetgeo import Calculator
from schnetgeo.errors import InputError
from schnetgeo.potential import Potential

_FORCE = 0.01  # eV/Å, where a relaxation ends
_STEPS = 500
_MOST = 0.5  # Å that a bond may change


class Calculators(NamedTuple):
    """One model for both purposes."""

    exact: Calculator  # float64, for differences of energies
    fast: Calculator  # for dynamics
    kind: str  # what the fast one is


def calculators(potential: Potential) -> Calculators:
    """The fast one is tabulated where the model can be."""
    exact = Calculator(copy.deepcopy(potential).double())
    try:
        return Calculators(exact, Calculator(potential.tabulate()), "tabulated potential")
    except InputError:  # not a SchNet of CFConv layers
        return Calculators(exact, Calculator(potential), "potential as it is")


def relaxed(atoms: Atoms, calculator: BaseCalculator) -> tuple[Atoms, Checked]:
    """The nearest minimum of the model, or the atoms themselves where bonds do not last."""
    check = "relaxation"
    start, bonds = atoms.copy(), find_bonds(atoms)
    start.calc = calculator
    moved = start.copy()
    moved.calc = calculator
    done = f"BFGS to {_FORCE} eV/Å, {_STEPS} steps at most"
    try:
        optimizer = BFGS(moved, logfile=None)
        optimizer.run(fmax=_FORCE, steps=_STEPS)
        force = float(np.linalg.norm(moved.get_forces(), axis=1).max())
        change = np.abs(lengths(bonds, moved) - lengths(bonds, start)).max(initial=0.0)
    except (InputError, np.linalg.LinAlgError):  # positions that are no numbers
        force = change = np.inf
    if not (np.isfinite(force) and change <= _MOST):
        done = f"{done}: bonds changed by more than {_MOST} Å, so checks begin unrelaxed"
        return start, Checked([Finding(check, "largest change of a bond", None, "Å", done)])
    done = f"{done}; took {optimizer.nsteps}"
    return moved, Checked(
        [
            Finding(check, "largest change of a bond", float(change), "Å", done),
            Finding(check, "largest force left", force, "eV/Å", done),
        ]
    )
