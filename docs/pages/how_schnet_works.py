r"""
How SchNet works
================

A molecule is a set of points. SchNet gives each atom a vector of features, lets atoms within a
cutoff talk to each other a few times, and adds up what each says of its energy. This page follows
ethanol through a trained model and looks at its filters.
"""

# %%
# A trained model first, of the small size that is enough for pictures:

import matplotlib.pyplot as plt
import torch

import schnetgeo as sg
from schnetgeo.data import with_edges
from schnetgeo.datasets import Demo
from schnetgeo.geometry import distances, edge_vectors
from schnetgeo.train import TrainingConfig, fit, new_potential

dataset = Demo("ethanol")
torch.manual_seed(0)
model = sg.SchNet(channels=32, num_layers=3, num_basis=25, cutoff=5.0)
potential = new_potential(model, dataset[:1000])
training = TrainingConfig(max_steps=2000, progress=False)
potential = fit(
    potential, dataset[:1000], dataset[1000:], training, "runs/filters"
).potential
model = potential.model

# %%
# Atoms and edges
# ---------------
#
# An edge joins two atoms that are nearer than the cutoff :math:`r_c`. A variable
# number of atoms needs no padding: a batch of molecules is one larger graph.

data = with_edges(dataset[0], model.cutoff)
distance = distances(edge_vectors(data))
print(data)
sg.show(dataset[0], forces=True)

# %%
# At first the features of an atom know its element alone, :math:`x_i^0 =
# \mathrm{embedding}(z_i)`:

x = model.embedding(data.z)
print(x.shape)  # (N, F)

# %%
# Distances as Gaussians
# ----------------------
#
# A distance becomes :math:`K` numbers
#
# .. math:: e_k(r) = \exp(-\gamma (r - \mu_k)^2),
#
# and each edge counts with a cutoff function :math:`f(r)` that falls to zero at
# :math:`r_c`, so that energies stay smooth when an atom leaves. Below, the
# distances of this molecule as ticks:

r = torch.linspace(0.01, 5.5, 500)
with torch.no_grad():
    basis, weight = model.basis(r), model.cutoff_fn(r)

figure, ax = plt.subplots()
ax.plot(r, basis, color="C0", alpha=0.5, linewidth=1)
ax.plot(r, weight, color="C3", linewidth=2, label="cutoff function f(r)")
ax.plot(
    distance, torch.full_like(distance, -0.05), "|", color="black", markersize=9
)
ax.set(xlabel="distance r, Å", ylabel="$e_k(r)$")
ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
plt.show()

# %%
# Filters
# -------
#
# A small network turns these numbers into a filter, one curve over the distance for
# each channel,
#
# .. math:: W(r) = f(r) \cdot \mathrm{network}(e(r)) \in \mathbb{R}^F,
#
# and the convolution multiplies what a neighbor says by it, channel by channel, and
# sums:
#
# .. math:: y_i = \sum_{j \to i} x_j \odot W(r_{ij}).
#
# These are the filters that training has found, eight channels of each layer, where
# molecules have distances:

figure, axes = plt.subplots(1, 3, figsize=(8, 3.2), sharey=True)
with torch.no_grad():
    for number, (ax, interaction) in enumerate(
        zip(axes, model.interactions, strict=True), start=1
    ):
        W = (weight[:, None] * interaction.conv.filter(basis))[r > 0.8, :8]
        ax.plot(r[r > 0.8], W, linewidth=1.3)
        ax.plot(distance, torch.full_like(distance, -0.6), "|", color="black")
        ax.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        ax.set(title=f"layer {number}", xlabel="distance, Å")
axes[0].set_ylabel("W(r)")
plt.show()

# %%
# Filters around an atom
# ----------------------
#
# A filter knows no direction. Around an atom at the center it is a set of shells,
# as in figure 2 of the SchNet paper; red adds to a channel, blue takes away:

axis = torch.linspace(-5, 5, 201)
radius = torch.hypot(axis[:, None], axis[None, :]).flatten()
with torch.no_grad():
    W = model.interactions[0].conv.filter(model.basis(radius))
    W = W * model.cutoff_fn(radius)[:, None]
strongest = W.abs().amax(0).argsort(descending=True)[:4]
figure, axes = plt.subplots(1, 4, figsize=(8, 2.2))
for ax, channel in zip(axes, strongest.tolist(), strict=True):
    image = W[:, channel].view(201, 201)
    top = image.abs().max().item()
    ax.imshow(image, cmap="RdBu_r", vmin=-top, vmax=top, extent=(-5, 5, -5, 5))
    ax.set(title=f"channel {channel}", xticks=[-5, 0, 5], yticks=[-5, 0, 5])
plt.show()

# %%
# Layers
# ------
#
# A layer adds what the neighbors say to what an atom knows, :math:`x^{l+1} = x^l +
# \mathrm{Interaction}_l(x^l)`. After one layer an atom knows its neighbors, after
# two the neighbors of those. That is how a function of distances alone comes to
# know angles:

edges = model.edge_features(data)
with torch.no_grad():
    for interaction in model.interactions:
        change = interaction(x, edges)
        x = x + change
        print(f"{(change.norm() / x.norm()).item():.2f} of the features is new")

# %%
# From features to the energy
# ---------------------------
#
# The readout makes one number of each atom, and the energy is their sum, times a
# scale, plus an energy for each element that was fitted before training:
#
# .. math:: E = s \sum_i \mathrm{readout}(x_i) + \sum_i e^0(z_i)

with torch.no_grad():
    values = model.atomic_values(data.z, edges)
    energy = (
        potential.scale * values.sum()
        + potential.atomic_references.values[data.z].sum()
    )
print(
    f"{energy:.4f} eV by hand, {potential(data).energy.item():.4f} eV by the potential"
)

# %%
# What each atom adds, in eV. It is no observable, but shows what the model sees as
# alike:

from ase.data import chemical_symbols

parts = (potential.scale * values).tolist()
labels = [f"{chemical_symbols[z]}{i}" for i, z in enumerate(data.z.tolist())]
figure, ax = plt.subplots(figsize=(6.4, 2.6))
ax.bar(labels, parts, color=["C0" if z > 1 else "0.7" for z in data.z.tolist()])
ax.axhline(0, color="black", linewidth=0.8)
ax.set(ylabel="eV")
plt.show()

# %%
# Forces are the derivative :math:`F_i = -\partial E / \partial r_i`, so that energy
# is conserved.
#
# Source: Schütt et al., `NeurIPS 2017 <https://arxiv.org/abs/1706.08566>`_. Next:
# :doc:`write_a_layer`, or :doc:`why_fast`.
