"""Train on structures of your own: any file that ASE reads, with energies and forces.

    python examples/train_on_own_file.py my.extxyz --steps 20000

Without a file it takes small molecules that ship with the package, and writes them first.
"""

import argparse

import ase.io

import schnetgeo as sg
from schnetgeo.data import random_split
from schnetgeo.datasets import AtomsFile, Demo
from schnetgeo.train import TrainingConfig, evaluate, fit, new_potential

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("file", nargs="?", help="your structures; eV and Å, as everywhere in ASE")
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--out", default="runs/own_file")
args = parser.parse_args()

if args.file is None:
    args.file = "molecules.extxyz"
    ase.io.write(args.file, [sg.to_ase(structure) for structure in Demo("molecules")[:400]])

dataset = AtomsFile(args.file)
split = random_split(len(dataset), num_train=len(dataset) * 8 // 10, num_val=len(dataset) // 10)
train, val, test = (dataset[part] for part in split)

model = sg.SchNet(channels=32, num_layers=2, num_basis=25, cutoff=5.0)
training = TrainingConfig(max_steps=args.steps, validate_every=100, progress=False)
result = fit(new_potential(model, train), train, val, training, args.out)

errors = evaluate(result.potential, test)
print(f"{result.steps} steps on {len(train)} structures of {args.file}")
print(f"errors on {len(test)} others:\n{errors}")
print(f"model: {args.out}/model.safetensors")
