"""
What the numbers mean
=====================

An error of "0.3 kcal/mol" says little without three more facts: the error of what, on which
structures, and compared with what.
"""

# %%
# Units
# -----
#
# Inside everything is in eV and Å. Papers on molecules give kcal/mol or meV:

from schnetgeo.units import BOHR, HARTREE, KCAL_MOL

print(f"1 kcal/mol = {1000 * KCAL_MOL:.2f} meV")
print(f"1 Hartree = {HARTREE:.4f} eV, 1 Bohr = {BOHR:.4f} Å")

# %%
# "Chemical accuracy" is 1 kcal/mol, 43 meV. Energies are of the whole molecule,
# unless a column says "/atom"; forces are per component, not per atom.

# %%
# Mean absolute and root mean square
# ----------------------------------
#
# .. math::
#
#    \mathrm{MAE} = \frac{1}{M} \sum_m |y_m - \hat y_m|, \qquad
#    \mathrm{RMSE} = \Big( \frac{1}{M} \sum_m (y_m - \hat y_m)^2 \Big)^{1/2}
#
# For errors with a normal distribution RMSE is 1.25 times MAE. A larger ratio means
# outliers.

import torch

import schnetgeo as sg
from schnetgeo.data import block_split, random_split
from schnetgeo.datasets import Demo
from schnetgeo.train import TrainingConfig, evaluate, fit, new_potential

dataset = Demo("ethanol")


def train_on(split, out):
    """A small model, trained on a split, and the errors of its test part."""
    torch.manual_seed(0)
    train, val, test = (dataset[part] for part in split)
    potential = new_potential(
        sg.SchNet(channels=32, num_layers=2, num_basis=25), train
    )
    training = TrainingConfig(max_steps=1000, progress=False)
    return evaluate(fit(potential, train, val, training, out).potential, test)


at_random = train_on(random_split(1200, 800, 50, 200), "runs/random")
print(at_random)

# %%
# Compared with what?
# -------------------
#
# The error of saying the mean is what a model has to beat. The R² in the table
# above is one minus the squared ratio of the two errors:

energy, forces = dataset.get_property("energy"), dataset.get_property("forces")
print(
    f"energy: {1000 * (energy - energy.mean()).abs().mean():.0f} meV for the mean"
)
print(f"forces: {1000 * forces.abs().mean():.0f} meV/Å for zero")

# %%
# On which structures?
# --------------------
#
# These frames come from a trajectory. At random, each tested frame has trained
# neighbors in time. In blocks of time hardly any has:

in_blocks = train_on(block_split(1200, 800, 50, 200), "runs/blocks")

import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 2)
for ax, name, unit in zip(
    axes, ("energy", "forces"), ("meV", "meV/Å"), strict=True
):
    values = [1000 * errors[name].mae for errors in (at_random, in_blocks)]
    bars = ax.bar(
        ["at random", "blocks in time"], values, color=["C0", "C1"], width=0.6
    )
    ax.bar_label(bars, fmt="%.0f")
    ax.set(title=f"MAE of {name}, {unit}")
plt.show()

# %%
# These frames are 25 fs apart, and the difference is no larger than that of two
# seeds. Frames that are closer in time are more alike, and a random split tests
# what was nearly trained on; so split by time where you cannot tell. Published
# errors on MD17 and rMD17 are of random splits, those on QM9 of other molecules.
# Each split has a digest, which results files quote, so that two rows can be
# compared:

split = random_split(1200, 800, 50, 200)
print(split.digest)

# %%
# Seeds
# -----
#
# Weights and splits are drawn at random. Two seeds of the same training on 1,000
# molecules of QM9 gave, in kcal/mol:

import json
from pathlib import Path

rows = json.loads(Path("../../benchmarks/results/qm9_u0.json").read_text())
for row in rows:
    if row["model"] == "SchNet" and row["num_train"] == 1000:
        print(f"seed {row['seed']}: {row['energy_mae_kcal_mol']:.2f}")

# %%
# A difference of that size between two models means nothing yet. Train each with
# several seeds.
