r"""
Write a layer
=============

From a formula to a trained model that can be compared: one class with one method.
"""

# %%
# Formula
# -------
#
# SchNet's filter treats all pairs of atoms at the same distance alike. Let the atom
# that receives a message open or close each channel:
#
# .. math:: y_i = \sum_{j \to i} \sigma(A x_i) \odot x_j \odot f(r_{ij}) W(r_{ij})
#
# Message
# -------
#
# ``RadialConv`` has the cutoff function :math:`f`, the sum over neighbors and the
# batching. A layer says what one neighbor tells an atom. ``W`` is what the layer's
# ``filter`` makes of the distance:

from torch import nn

import schnetgeo as sg


class GatedConv(sg.RadialConv):
    """SchNet's filter with a gate of the atom that receives the message."""

    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis)
        self.filter = nn.Sequential(
            nn.Linear(num_basis, channels), nn.SiLU(), nn.Linear(channels, channels)
        )
        self.gate = nn.Linear(channels, channels)

    def message(self, x_i, x_j, W):
        return self.gate(x_i).sigmoid() * x_j * W


# %%
# Check
# -----
#
# Is it physical? ``check_conv`` renumbers atoms, takes edges apart, moves atoms
# across the cutoff and compares derivatives with finite differences. The last lines
# say whether the fast engine runs it:

print(sg.testing.check_conv(GatedConv))

# %%
# A layer that forgets a rule is told which one:


class Wrong(GatedConv):
    """Adds the index of each atom to its features."""

    def forward(self, x, edges, v=None):
        out = super().forward(x, edges, v)
        return out + out.new_tensor(range(len(out)))[:, None]


try:
    sg.testing.check_conv(Wrong)
except sg.testing.CheckFailed as error:
    print(error)

# %%
# Train
# -----
#
# The layer is an argument of the model, everything else stays:

import torch

from schnetgeo.datasets import Demo
from schnetgeo.train import TrainingConfig, evaluate, fit, new_potential

dataset = Demo("molecules")
order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
train, val, test = (
    dataset[order[:900]],
    dataset[order[900:950]],
    dataset[order[950:]],
)
errors = {}
for name, conv in {
    "CFConv, of SchNet": sg.CFConv,
    "GatedConv, ours": GatedConv,
}.items():
    torch.manual_seed(0)
    model = sg.SchNet(channels=32, num_layers=2, num_basis=25, conv=conv)
    training = TrainingConfig(max_steps=1000, progress=False)
    out = f"runs/{conv.__name__}"
    result = fit(new_potential(model, train), train, val, training, out)
    errors[name] = evaluate(result.potential, test)
    print(f"{name}: {sg.nn.num_parameters(model):,} parameters")
    print(errors[name])

# %%
# Compare
# -------

import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(6.4, 2.2))
values = [1000 * error["forces"].mae for error in errors.values()]
bars = ax.barh(list(errors), values, color=["0.7", "C0"], height=0.6)
ax.bar_label(bars, fmt="%.0f", padding=3)
ax.set(xlabel="mean absolute error of forces, meV/Å")
plt.show()

# %%
# One seed and seconds of training prove nothing: :doc:`what_numbers_mean` says what
# does. The benchmarks take a class by its dotted path, and put it beside SchNet,
# PaiNN and published values:
#
# .. code-block:: sh
#
#    python -m benchmarks.md17 --molecules ethanol --models SchNet my_layers.GatedConv \
#        --seed 0 1 2 --max-minutes 30 --out runs/compare
#
# Save and load
# -------------
#
# A model file names your class and holds no code, so that loading asks for it:

potential = sg.load("runs/GatedConv/model.safetensors", classes=[GatedConv])
print(potential)

# %%
# Where the layer has arguments of its own, say ``conv=functools.partial(GatedConv,
# heads=4)``; the file keeps them. A layer may also take ``edge_unit``, the
# direction of each edge, ``v_j``, vector features, or plain ``edge_attr``: see
# :class:`schnetgeo.nn.RadialConv`. A whole model of your own derives from
# :class:`schnetgeo.nn.AtomisticModel`.
