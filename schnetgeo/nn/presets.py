"""Hyperparameters of published models."""

from torch import nn

from schnetgeo.nn.cutoff import StepCutoff

_PAPER = dict(
    channels=64,
    gamma=10.0,
    cutoff_fn=StepCutoff,
    filter_last_activation=True,
    zero_init=True,
)
SCHNET = {
    "paper2017": dict(_PAPER, num_layers=3, num_basis=300, cutoff=30.0, readout_channels=32),
    "jcp2018": dict(_PAPER, num_layers=6, num_basis=200, cutoff=20.0),
    "schnetpack": dict(
        channels=128, num_layers=6, num_basis=20, cutoff=5.0, readout_activation=nn.SiLU
    ),
    "pyg": dict(channels=128, num_layers=6, num_basis=50, cutoff=10.0),
    # TorchMD_GN of gauss, ssp and no neighbor embedding; its default is expnorm, silu and
    # NeighborSchNet
    "torchmd_gn": dict(channels=128, num_layers=6, num_basis=50, cutoff=5.0),
}
PAINN = {"painn2021": dict(channels=128, num_layers=3, num_basis=20, cutoff=5.0)}
