r"""
Targets, losses, readouts
=========================

A target is what to predict, a readout how a model makes it from the features of atoms, a loss what
training makes small. Each is one object, and each can be yours.
"""

# %%
# Targets
# -------
#
# A name, a unit and a shape. These are known; ``sg.Target("band_gap", "eV",
# extensive=False)`` is one of your own:

import pandas as pd

import schnetgeo as sg
from schnetgeo.targets import TARGETS

pd.DataFrame(
    [(t.name, t.unit, t.per, "×".join(map(str, t.shape)) or "1") for t in TARGETS],
    columns=["target", "unit", "of each", "values"],
).set_index("target")

# %%
# Readouts
# --------
#
# Energies are a sum over atoms, orbital energies a mean. Partial charges must add
# up to the charge of the molecule, and a dipole must turn with it, which a plain
# sum of numbers cannot promise:
#
# .. math:: q_i = \hat q_i + \frac{1}{n} \Big( Q - \sum_j \hat q_j \Big), \qquad
#           \mu = \sum_i q_i \, r_i.
#
# ``readout_for`` names the usual readout of a target; several go on one model:

from schnetgeo.nn import readout_for
from schnetgeo.targets import known_target

targets = [known_target("charges"), known_target("dipole")]
print(readout_for(targets[1]))

# %%
# Labels
# ------
#
# Labels are attributes with the name of the target. From a file they come by name
# and unit, as in ``AtomsFile("mine.extxyz", labels=["dipole=mu_ref:Debye",
# "charges:e"])``. So that this page runs without a file, here are charges and
# dipoles made up from distances, after which each atom takes a little charge from
# those near it that are less electronegative:

import torch

from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets import Demo

ELECTRONEGATIVITY = torch.tensor(
    [0, 2.2, 0, 0, 0, 0, 2.55, 3.04, 3.44], dtype=torch.float64
)


def with_labels(data):
    """A structure with charges (N,) in e and their dipole (1, 3) in e·Å."""
    chi, pos = ELECTRONEGATIVITY[data.z], data.pos.double()
    pull = torch.exp(-torch.cdist(pos, pos)) * (chi[None, :] - chi[:, None])
    charges = pull.sum(1)
    return data.update(
        {"charges": charges, "dipole": (charges[:, None] * pos).sum(0)[None]}
    )


dataset = StructureDataset.from_list(
    [with_labels(data) for data in Demo("molecules")]
)
order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
train, val, test = (
    dataset[order[:1000]],
    dataset[order[1000:1040]],
    dataset[order[1040:]],
)

# %%
# Losses
# ------
#
# A loss is an error of one target with a weight,
#
# .. math:: L = \sum_t w_t \cdot \mathrm{mean}\; \mathrm{error}_t(y_t - \hat y_t),
#
# with ``mse``, ``mae``, ``huber(delta)`` or a function of yours as the error; or a
# function of prediction and batch. On the command line it is ``--losses charges:1
# dipole:0.5:huber=0.1``:

from schnetgeo.train import (
    Loss,
    TrainingConfig,
    evaluate,
    fit,
    huber,
    new_potential,
)


def too_large(prediction, batch):
    """A penalty on charges beyond one electron, (N,) as a mean."""
    return (prediction["charges"].abs() - 1).relu().square().mean()


torch.manual_seed(0)
model = sg.SchNet(
    channels=32, num_layers=2, num_basis=25, readout=readout_for(*targets)
)
potential = new_potential(model, train, targets=targets)
training = TrainingConfig(max_steps=1500, progress=False)
losses = [Loss("charges"), Loss("dipole", huber(0.1), weight=0.5), too_large]
result = fit(potential, train, val, training, "runs/charges", losses=losses)
print(evaluate(result.potential, test))

# %%
# "cosine" says whether vectors point the right way. A prediction has each target by
# its name:

import matplotlib.pyplot as plt

batch = test.batch(range(len(test)))
prediction = result.potential(batch)
figure, axes = plt.subplots(1, 2, figsize=(7, 3.4))
for ax, target in zip(axes, targets, strict=True):
    label, value = batch[target.name].flatten(), prediction[target.name].flatten()
    ax.plot(label, value, ".", markersize=3, alpha=0.4)
    ends = label.min().item(), label.max().item()
    ax.plot(ends, ends, color="black", linewidth=0.8)
    ax.set(title=str(target), xlabel="label", ylabel="prediction", aspect="equal")
plt.show()

# %%
# Do the charges add up, and does the dipole turn with the molecule?
# ``check_potential`` asks that of any model:

print(sg.testing.check_potential(result.potential))

# %%
# A readout of your own
# ---------------------
#
# A readout says what becomes of the values of the atoms. The whole program, with a
# target and a loss of its own, is an example of the repository:
#
# .. literalinclude:: ../../examples/own_target.py
#    :language: python
