"""Lattice constant and elastic constants of a cubic crystal, by models and by labels; ions clamped.

`python -m benchmarks.elastic MODEL.safetensors... --data si_crystal.npz --crystal Si`
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.eos import EquationOfState
from ase.units import GPa
from jsonargparse import Namespace

import schnetgeo as sg
from benchmarks.accuracy.runner import run_command
from benchmarks.accuracy.table import aligned
from benchmarks.machine import hardware, versions
from schnetgeo.cli.data_options import add_units, read_files
from schnetgeo.cli.parser import Parser
from schnetgeo.data.packed import StructureDataset
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_write

LARGEST = 0.09  # strain of the cells that a cubic polynomial is fitted to
STRETCH, SHEAR = (0, 0), (1, 0)  # entries of the strain
STEP = 1e-4  # strain of the differences that stress is compared with
COMPARED = 6  # structures for that


class Constants(NamedTuple):
    """Of a cubic crystal whose ions are at the same fractions of every cell."""

    a: float  # Å
    C11: float  # GPa
    C12: float
    C44: float


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark; an `InputError` becomes one line and exit code 2."""
    run_command(make_parser(), _run, arguments)


def make_parser() -> Parser:
    parser = Parser(prog="python -m benchmarks.elastic", description=__doc__)
    parser.add_argument("models", type=str, nargs="+", help="model files")
    parser.add_argument("--data", type=str, required=True, help="file with strained cells")
    parser.add_argument("--crystal", type=str, default="Si", help="an element with cubic cells")
    parser.add_argument("--out", type=str, default="runs/elastic", help="folder for results")
    add_units(parser)
    return parser


def _run(options: Namespace) -> None:
    data = read_files([options.data], options)
    expected = constants_of_labels(data, options.crystal)
    rows = [{"source": f"labels of {data.name}", **expected._asdict()}]
    for file in options.models:
        potential = sg.load(file).double()
        constants = constants_of_calculator(sg.Calculator(potential), options.crystal)
        pairs = zip(Constants._fields, constants, expected, strict=True)
        off = {f"{name}_off_percent": 100 * (value / label - 1) for name, value, label in pairs}
        some = data[:: -(-len(data) // COMPARED)]
        error = max(stress_error(potential, structure) for structure in some)
        rows.append({"source": type(potential.model).__name__, **constants._asdict(), **off,
                     "stress_error_eV_A3": error})  # fmt: skip
    print(aligned(list(rows[-1]), [[_text(row.get(key)) for key in rows[-1]] for row in rows]))
    rows = [row | {"hardware": hardware(), "versions": versions()} for row in rows]
    text = json.dumps(rows, indent=2, ensure_ascii=False)
    atomic_write(Path(options.out) / "results.json", text.encode())


def constants_of_labels(data: StructureDataset, crystal: str) -> Constants:
    """By the stresses of strained copies of the structure of lowest energy per atom.

    Raises:
        InputError: where fewer than five such copies are stretched along x, or sheared in xy.
    """
    first = data[int((data.get_property("energy") / data.num_atoms).argmin())]
    copies = [structure for structure in data if _has_fractions_of(structure, first)]
    inverse = torch.linalg.inv(first.cell[0].double())
    strains = np.stack([inverse @ s.cell[0].double() for s in copies]) - np.eye(3)
    stresses = np.stack([s.stress[0].double() for s in copies]) / GPa
    for name, entry in (("stretched along x", STRETCH), ("sheared in xy", SHEAR)):
        if len(np.unique(strains[_along(strains, entry)][:, *entry].round(6))) < 5:
            raise InputError(f"{data.name}: has fewer than five cells that are {name}; add such")
    C11, C12, C44 = _slopes(strains, stresses)
    at_rest = np.abs(strains).max((1, 2)).argmin()
    repeats = (len(first.z) / len(bulk(crystal, cubic=True))) ** (1 / 3)
    a = float(torch.linalg.det(first.cell[0].double())) ** (1 / 3) / repeats
    shrinkage = np.trace(stresses[at_rest]) / 3 / (C11 + 2 * C12)  # to zero stress
    return Constants(a * (1 - shrinkage), C11, C12, C44)


def constants_of_calculator(calculator: Calculator, crystal: str) -> Constants:
    """By energies of cells of all sizes, and stresses of strained cells of the best one."""

    def strained(strain: np.ndarray, a: float | None = None):
        atoms = bulk(crystal, a=a, cubic=True)
        atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
        atoms.calc = calculator
        return atoms

    cells = [strained(np.eye(3) * x) for x in np.linspace(-0.03, 0.03, 13)]
    volumes, energies = zip(
        *((cell.get_volume(), cell.get_potential_energy()) for cell in cells), strict=True
    )
    a = EquationOfState(volumes, energies).fit()[0] ** (1 / 3)
    strains = np.zeros((18, 3, 3))
    for rows, entry in ((strains[:9], STRETCH), (strains[9:], SHEAR)):
        rows[:, *entry] = np.linspace(-LARGEST, LARGEST, 9)
    stresses = np.stack([strained(strain, a).get_stress(voigt=False) for strain in strains]) / GPa
    return Constants(a, *_slopes(strains, stresses))


def _has_fractions_of(structure: sg.data.Structure, first: sg.data.Structure) -> bool:
    """Whether the atoms are at the same fractions of the cell, so that it is a strained copy."""
    if not torch.equal(structure.z, first.z):
        return False
    one, two = (s.pos.double() @ torch.linalg.inv(s.cell[0].double()) for s in (structure, first))
    off = one - two
    return bool(((off - off.round()).abs() < 1e-4).all())


def _along(strains: np.ndarray, entry: tuple[int, int]) -> np.ndarray:
    """Which strains are in one entry, others being of second order."""
    size = np.abs(strains[:, *entry])
    rest = np.abs(strains)
    rest[:, *entry] = 0
    return (size <= LARGEST) & (rest.max((1, 2)) <= size**2 + 1e-5)


def _slopes(strains: np.ndarray, stresses: np.ndarray) -> tuple[float, float, float]:
    """C11, C12, C44: of cubic polynomials of the stress at no strain."""
    stretched, sheared = (_along(strains, entry) for entry in (STRETCH, SHEAR))
    return tuple(
        float(np.polyfit(strains[chosen][:, *entry], stresses[chosen][:, i, j], 3)[-2])
        for chosen, entry, i, j in (
            (stretched, STRETCH, 0, 0), (stretched, STRETCH, 1, 1), (sheared, SHEAR, 0, 1),
        )
    )  # fmt: skip


def stress_error(potential: sg.Potential, structure: sg.data.Structure) -> float:
    """Largest difference of stress and (E(ε) − E(−ε)) / 2εV over all ε, eV/Å³."""
    cell, pos = structure.cell[0].double(), structure.pos.double()
    errors = []
    stress = potential(structure.clone().update({"pos": pos}), stress=True).stress[0]
    for i, j in zip(*np.triu_indices(3), strict=True):
        energies = []
        for step in (STEP, -STEP):
            strain = torch.eye(3, dtype=torch.float64)
            strain[i, j] += step / 2
            strain[j, i] += step / 2
            changed = {"pos": pos @ strain, "cell": (cell @ strain).unsqueeze(0)}
            energies.append(potential(structure.clone().update(changed), forces=False).energy)
        slope = (energies[0] - energies[1]) / (2 * STEP * torch.linalg.det(cell).abs())
        errors.append(float((slope - stress[i, j]).abs().max()))
    return max(errors)


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value or "")


if __name__ == "__main__":
    main()
