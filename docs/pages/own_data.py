"""
Your own data, and is it consistent?
====================================

Any file that ASE reads becomes a data set. Before training on it, ask whether energies and forces
belong together: a wrong unit or sign costs a day when it is found after the training.
"""

# %%
# We write a file as you may have one, extended XYZ with energies and forces, here
# from data that ship with the package:

import os

import ase.io

import schnetgeo as sg
from schnetgeo.data import block_split
from schnetgeo.data.consistency import check_data
from schnetgeo.datasets import AtomsFile, Demo

os.makedirs("runs", exist_ok=True)
frames = [sg.to_ase(data) for data in Demo("ethanol")]
ase.io.write("runs/own.extxyz", frames)

dataset = AtomsFile("runs/own.extxyz")
print(len(dataset), dataset[0])

# %%
# Labels under other names, in other units
# ----------------------------------------
#
# What a file states wins; what nobody states is asked for. ``AtomsFile`` takes the
# names and units of your labels:
#
# .. code-block:: python
#
#    AtomsFile("mine.extxyz", energy_key="dft_energy", forces_key="-gradient",
#              energy_unit="Hartree", force_unit="Hartree/Bohr",
#              labels=["dipole=mu_ref:Debye"])
#
# A minus takes the negative, as for gradients. :doc:`../reading` lists what each
# kind of file may hold, :doc:`../units` which units are taken, refused or asked
# for.

# %%
# Is it consistent?
# -----------------
#
# Between two frames that are near each other the energy must change by the work of
# the forces,
#
# .. math:: E(b) - E(a) \approx -\tfrac{1}{2} \sum_i (F_i(a) + F_i(b)) \cdot (r_i(b) - r_i(a)).
#
# Forces of an isolated molecule sum to zero, and copies have the same labels:

report = check_data(dataset)
print(report)

# %%
# Now a file with a common fault, energies in kcal/mol beside forces in eV/Å:

for atoms in frames:
    atoms.calc.results["energy"] /= 0.0433641
ase.io.write("runs/wrong.extxyz", frames)
print(check_data(AtomsFile("runs/wrong.extxyz")))

# %%
# And one in which the forces are gradients:

for atoms in frames:
    atoms.calc.results["energy"] *= 0.0433641
    atoms.calc.results["forces"] *= -1
ase.io.write("runs/wrong.extxyz", frames)
print(check_data(AtomsFile("runs/wrong.extxyz")))

# %%
# The shell has the same, with exit code 1 where there is a fault, so that a script
# can stop there:
#
# .. code-block:: sh
#
#    schnetgeo data check own.extxyz
#    schnetgeo data stats own.extxyz

# %%
# What to train on
# ----------------
#
# Neighboring frames of a trajectory are alike. A random split may test the model on what it has
# nearly seen; blocks in time do not (see :doc:`what_numbers_mean`):

split = block_split(len(dataset), num_train=800, num_val=50, num_test=200)
train, val, test = (dataset[part] for part in split)
print(len(train), len(val), len(test))

# %%
# Training is as in :doc:`first_prediction`, or one line in the shell:
#
# .. code-block:: sh
#
#    schnetgeo train --data own.extxyz --num-train 800 --num-val 50 --max-minutes 10 --out runs/own
