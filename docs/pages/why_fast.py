r"""
Why it is fast
==============

A training step on forces takes a fraction of the time of the usual implementations, with the same
weights and all but the same forces. Four ideas make the difference.
"""

# %%
# Splines instead of networks
# ---------------------------
#
# SchNet's filter :math:`W(r)` depends on the distance alone. The usual way runs the
# filter network on every edge: tens of thousands in a batch. But a curve can be
# drawn from a few hundred points. So the network runs on knots :math:`r_m = m h`,
# and cubic B-splines give the rest,
#
# .. math::
#
#    W(r) = \sum_{q=0}^{3} B_q(t)\, c_{k+q-1}, \qquad
#    c_m = \frac{-W(r_{m-1}) + 8\, W(r_m) - W(r_{m+1})}{6}.
#
# This is linear in what the network gives, so training goes through it like any
# other layer. With knots far too wide the idea can be seen:

import copy

import matplotlib.pyplot as plt
import torch

import schnetgeo as sg
from schnetgeo.datasets import Demo
from schnetgeo.engine.knots import Knots
from schnetgeo.ops import bspline

torch.manual_seed(0)
model = sg.SchNet(channels=64, num_layers=3, num_basis=50, cutoff=5.0)
network = model.interactions[0].conv.filter


def network_at(r):
    """One channel of the network on the Gaussians of distances."""
    with torch.no_grad():
        return network(model.basis(r))[:, :1]


h, r = 0.1, torch.linspace(0.8, 2.4, 400)
knots = h * torch.arange(-2, 30)
c = bspline.coefficients(network_at(knots))
u = r / h
k = u.floor().long()
spline = (bspline.weights(u - k)[..., None] * c[k[:, None] + torch.arange(4)]).sum(
    1
)

figure, ax = plt.subplots()
ax.plot(r, network_at(r), color="C0", label="network on 400 distances")
ax.plot(r, spline, "--", color="C3", label=f"splines of knots {h} Å apart")
inside = (knots > 0.79) & (knots < 2.41)
ax.plot(
    knots[inside],
    network_at(knots)[inside],
    "o",
    color="black",
    markersize=4,
    label="knots",
)
ax.set(xlabel="distance, Å", ylabel="W(r), one channel")
ax.legend(fontsize=9)
plt.show()

# %%
# How exact is it?
# ----------------
#
# Values err as :math:`h^4`, derivatives, and with them forces, as :math:`h^3`.
# ``filters="exact"`` runs the network on every edge, with the same weights, so that
# it can be measured:

batch = Demo("molecules").batch(range(0, 1240, 62))
exact = sg.Potential(copy.deepcopy(model).double(), filters="exact").eval()(batch)
spacings = [0.08, 0.04, 0.02, 0.01, 0.005]
errors = []
for spacing in spacings:
    forces = (
        sg.Potential(copy.deepcopy(model).double(), spacing=spacing)
        .eval()(batch)
        .forces
    )
    errors.append(((forces - exact.forces).norm() / exact.forces.norm()).item())

default = Knots(model.basis, model.cutoff).spacing
figure, ax = plt.subplots()
ax.loglog(spacings, errors, "o-", label="forces of 20 molecules")
ax.loglog(spacings, [errors[2] * (s / spacings[2]) ** 3 for s in spacings], "--", color="0.6",
          label="$h^3$")  # fmt: skip
ax.axvline(default, color="C3", linewidth=1, label=f"default, {default:g} Å")
ax.set_xticks(spacings, [f"{s:g}" for s in spacings])
ax.set_xticks([], minor=True)
ax.set(xlabel="spacing h of the knots, Å", ylabel="relative error")
ax.legend()
plt.show()

# %%
# The errors of a good model are a few percent of its forces, a thousand times as
# large. Where that is not good enough, set ``spacing``, or ``filters="exact"``.

# %%
# One description of the model
# ----------------------------
#
# The engine reads the model's own ``forward`` once and writes down what it does, as
# a short program. Any layer whose message is a sum of products :math:`a(x_i)\,
# b(x_j)\, W(r)` can be read, with directions too, as in PaiNN; yours as well.
# ``explain`` shows what runs, and why:

potential = sg.Potential(sg.SchNet(channels=32, num_layers=1, num_basis=25)).eval()
print(sg.engine.explain(potential, batch))

# %%
# For each operation the engine knows the derivative, the derivative along a
# direction, and the derivative of that. Training on forces needs all three; they
# are written out instead of recorded, so that no tape of second order is kept, and
# no array of the size edges times channels is formed.

# %%
# Blocks of structures
# --------------------
#
# Molecules of a batch do not see each other. So each thread takes a block of
# molecules through all layers while their features are in its cache, instead of
# passing the whole batch through memory once for each operation. On a GPU, batches
# of sizes that come often are CUDA graphs.

# %%
# Tables for dynamics
# -------------------
#
# When training is over the filters are fixed. ``tabulate`` makes tables of them, to
# an error that it measures:

from time import perf_counter

fast = potential.tabulate(tolerance=1e-5)
print(f"error {fast.error:.1e}, knots {fast.spacing:g} Å apart")
data = Demo("ethanol")[0]
for name, predict in {"potential": potential, "tabulated": fast}.items():
    predict(data)
    start = perf_counter()
    for _ in range(100):
        predict(data)
    print(
        f"{name}: {1e4 * (perf_counter() - start):.0f} µs for energy and forces of ethanol"
    )

# %%
# Beside others
# -------------
#
# Milliseconds for the same work on the same machine. Names of cases are channels,
# layers and Gaussians; "forces" is a training step on forces:

import json
from pathlib import Path

import pandas as pd


def table(name):
    """Milliseconds of each case of a results file."""
    report = json.loads(Path(f"../../benchmarks/results/{name}.json").read_text())
    print(report["hardware"])
    rows = {case["title"]: case["milliseconds"] for case in report["cases"]}
    columns = ["schnetgeo", "schnetgeo, exact filters", "PyG", "SchNetPack"]
    return (
        pd.DataFrame(rows)
        .T.reindex(columns=columns)
        .map(lambda ms: f"{ms:.3g}" if ms < 999 else f"{ms:,.0f}")
    )


table("speed_2_threads")

# %%
# On a GPU:

table("speed_h200")

# %%
# ``python -m benchmarks.speed`` measures this on your machine, ``--device cuda`` on
# its GPU.
