r"""
Uncertainty and selection
=========================

A prediction far from the training structures looks like any other. Let the model say how sure it
is, test whether that is true, and pick the structures that are worth a calculation.
"""

# %%
# A model, trained on frames of ethanol:

import torch

import schnetgeo as sg
from schnetgeo.datasets import Demo
from schnetgeo.train import TrainingConfig, calibrate, fit, new_potential

dataset = Demo("ethanol")
order = torch.randperm(1200, generator=torch.Generator().manual_seed(0))
train, val, test = (
    dataset[order[:300]],
    dataset[order[300:400]],
    dataset[order[400:]],
)
torch.manual_seed(0)
model = sg.SchNet(channels=32, num_layers=2, num_basis=25)
training = TrainingConfig(max_steps=1500, progress=False)
potential = fit(
    new_potential(model, train), train, val, training, "runs/llpr"
).potential

# %%
# How sure is it?
# ---------------
#
# The energy is linear in the last layer's features :math:`\phi`. Least squares then
# gives a variance without any other model,
#
# .. math:: \sigma^2(E) = \alpha^2 \, \phi^\top
#           \Big( \sum_{m} \phi_m \phi_m^\top + \lambda \Big)^{-1} \phi,
#
# with the training structures :math:`m`, and :math:`\alpha` from the errors on
# validation structures (Bigi, Chong, Ceriotti, Grasselli, 2024). It costs a few
# percent of a prediction:

calibrate(potential, train, val)
batch = test.batch(range(len(test)))
prediction = potential(batch, uncertainty="energy")
for number in range(4):
    energy, std = prediction.energy[number], prediction.uncertainty.energy[number]
    print(f"{energy:.3f} ± {std:.3f} eV")

# %%
# Is that true?
# -------------
#
# In groups of structures with like uncertainty, the root mean square error should
# be as large as it says:

import matplotlib.pyplot as plt

from schnetgeo.viz.reliability import reliability_curve

error = (prediction.energy - batch.energy).numpy()
predicted, actual = reliability_curve(
    1000 * error, 1000 * prediction.uncertainty.energy.numpy()
)
figure, ax = plt.subplots(figsize=(4, 4))
top = 1.1 * max(predicted.max(), actual.max())
ax.plot([0, top], [0, top], "--", color="0.6")
ax.plot(predicted, actual, "o-")
ax.set(xlim=(0, top), ylim=(0, top), aspect="equal")
ax.set(xlabel="standard deviation, meV", ylabel="root mean square error, meV")
plt.show()

# %%
# Something else
# --------------
#
# What has training not seen? A bond that is stretched. The uncertainty must grow
# with it:

data = test[0]
bond = data.pos[1] - data.pos[0]
stretched = []
for factor in torch.linspace(0.9, 1.5, 25).tolist():
    other = data.clone()
    other.pos = data.pos.clone()
    other.pos[1] = data.pos[0] + factor * bond
    stretched.append(other)
std = [
    potential(d, uncertainty="energy").uncertainty.energy.item() for d in stretched
]
length = [(d.pos[1] - d.pos[0]).norm().item() for d in stretched]
figure, ax = plt.subplots()
ax.semilogy(length, std)
known = train.get_property("pos").view(-1, 9, 3)
seen = (known[:, 1] - known[:, 0]).norm(dim=1)
ax.axvspan(seen.min().item(), seen.max().item(), color="0.9", label="training")
ax.set(xlabel="distance of the first two atoms, Å", ylabel="σ of the energy, eV")
ax.legend()
plt.show()

# %%
# Which structures are worth a calculation?
# -----------------------------------------
#
# Those the model is least sure of, but no two that tell the same:

from schnetgeo.potential.uncertainty import select

chosen = select(prediction.uncertainty.points, 5)
print("structures", chosen.tolist())
print(
    "σ, meV:",
    [round(1000 * x) for x in prediction.uncertainty.energy[chosen].tolist()],
)

# %%
# In the shell
# ------------
#
# .. code-block:: sh
#
#    schnetgeo calibrate runs/own/model.safetensors train.extxyz --val-data val.extxyz \
#        --test-data test.extxyz --plot reliability.png
#    schnetgeo select pool.extxyz --model runs/own/model.safetensors --num 100 --out next.extxyz
#
# Several models
# --------------
#
# The other way is an ensemble, trained with other seeds. It costs as many trainings
# and predictions as it has members:

members = [potential]
for seed in (1, 2):
    torch.manual_seed(seed)
    member = new_potential(
        sg.SchNet(channels=32, num_layers=2, num_basis=25), train
    )
    training = TrainingConfig(max_steps=500, seed=seed, progress=False)
    members.append(
        fit(member, train, val, training, f"runs/member{seed}").potential
    )
ensemble = sg.Ensemble(members)
print(ensemble(batch).uncertainty.energy[:4])
