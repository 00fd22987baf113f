"""Equation of state and elastic constants, ions clamped; without a model of ASE's EMT copper.

schnetgeo train --data si_crystal.npz --losses energy/atom:100 forces stress:1000 --out runs/si
python examples/elastic_constants.py runs/si/model.safetensors --crystal Si
"""

import argparse

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.eos import EquationOfState
from ase.units import GPa

import schnetgeo as sg

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("model", nargs="?", help="model file, trained on strained cells")
parser.add_argument("--crystal", default="Cu", help="an element with cubic cells")
args = parser.parse_args()
calculator = sg.Calculator(args.model) if args.model else EMT()


def strained(strain, a=None):
    atoms = bulk(args.crystal, a=a, cubic=True)
    atoms.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
    atoms.calc = calculator
    return atoms


cells = [strained(np.eye(3) * x) for x in np.linspace(-0.03, 0.03, 13)]
states = zip(*((atoms.get_volume(), atoms.get_potential_energy()) for atoms in cells), strict=True)
volume, _, modulus = EquationOfState(*states).fit()
print(f"a = {(a := volume ** (1 / 3)):.3f} Å, bulk modulus {modulus / GPa:.0f} GPa")
stretch, shear = np.diag([0.02, 0, 0]), 0.01 * (np.eye(3)[[0, 2, 1]] - np.diag([1, 0, 0]))
for name, strain, row in (("C11", stretch, 0), ("C12", stretch, 1), ("C44", shear, 3)):
    stress = strained(strain, a).get_stress() - strained(-strain, a).get_stress()
    print(f"{name} = {stress[row] / 0.04 / GPa:.0f} GPa")
