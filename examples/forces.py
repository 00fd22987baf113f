"""Energy and forces of a molecule with a trained model.

    python examples/forces.py model.safetensors --molecule CH3CH2OH

Without a model file it first trains a tiny one, for demonstration.
"""

import argparse

from ase.build import molecule

import schnetgeo as sg
from schnetgeo.datasets import Demo
from schnetgeo.train import TrainingConfig, fit, new_potential

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("model", nargs="?", help="model file")
parser.add_argument("--molecule", default="CH3CH2OH", help="a name that ase.build.molecule knows")
parser.add_argument("--steps", type=int, default=200, help="of the tiny training")
args = parser.parse_args()

if args.model is None:
    dataset = Demo("molecules")
    potential = new_potential(sg.SchNet(channels=32, num_layers=2, num_basis=25), dataset)
    training = TrainingConfig(max_steps=args.steps, progress=False)
    fit(potential, dataset, dataset[:0], training, "runs/forces")
    args.model = "runs/forces/model.safetensors"

potential = sg.load(args.model)
atoms = molecule(args.molecule)
prediction = potential(sg.from_ase(atoms))

print(f"{atoms.symbols}: {prediction.energy.item():.4f} eV")
print("atom   Fx      Fy      Fz    eV/Å")
for symbol, force in zip(atoms.symbols, prediction.forces.tolist(), strict=True):
    print(f"{symbol:<3}" + "".join(f"{component:8.3f}" for component in force))
