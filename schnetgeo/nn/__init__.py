"""Layers and models."""

from schnetgeo.nn.baseline import Baseline
from schnetgeo.nn.conv import CFConv, RadialConv
from schnetgeo.nn.mlp import ShiftedSoftplus, num_parameters
from schnetgeo.nn.radial import CosineEnvelope, GaussianBasis, NoEnvelope
from schnetgeo.nn.readout import MeanReadout, SumReadout
from schnetgeo.nn.schnet import SchNet

__all__ = [
    "Baseline",
    "CFConv",
    "CosineEnvelope",
    "GaussianBasis",
    "MeanReadout",
    "NoEnvelope",
    "RadialConv",
    "SchNet",
    "ShiftedSoftplus",
    "SumReadout",
    "num_parameters",
]
