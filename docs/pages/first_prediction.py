"""
Ten lines to a prediction
=========================

Train a small SchNet on data that ship with the package, and ask it for the energy and forces of a
molecule. Everything is in eV and Å.
"""

# %%
# 800 frames of ethanol with energies and forces, and 15 seconds of training:

import torch

import schnetgeo as sg
from schnetgeo.datasets import Demo
from schnetgeo.train import TrainingConfig, evaluate, fit, new_potential

dataset = Demo("ethanol")
train, val, test = dataset[:800], dataset[800:850], dataset[850:]

torch.manual_seed(0)
model = sg.SchNet(channels=32, num_layers=2, num_basis=25, cutoff=5.0)
potential = new_potential(model, train)
training = TrainingConfig(max_steps=2000, validate_every=500, progress=False)
result = fit(potential, train, val, training, "runs/first")

# %%
# The folder now has ``model.safetensors``, which holds the weights and a
# description, and no pickle. A prediction is one call. It takes what ASE has, or a
# structure of a data set:

from ase.build import molecule

potential = sg.load("runs/first/model.safetensors")
prediction = potential(sg.from_ase(molecule("CH3CH2OH")))
print(prediction.energy)  # (1,) in eV
print(prediction.forces)  # (9, 3) in eV/Å

# %%
# How good is it? The frames that training did not see tell:

print(evaluate(potential, test))

# %%
# The same model moves atoms in ASE, and draws what it says:

atoms = sg.to_ase(test[0])
atoms.calc = sg.Calculator(potential)
atoms.get_forces()
sg.show(atoms, forces=True)

# %%
# More training makes it better: two thousand steps are a start, fifty thousand a
# model. From the shell the same is
#
# .. code-block:: sh
#
#    schnetgeo train --dataset Demo --max-minutes 10 --out runs/ethanol
#    schnetgeo evaluate runs/ethanol/model.safetensors test.extxyz
#
# Next: :doc:`own_data`, or :doc:`how_schnet_works`.
