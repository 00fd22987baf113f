"""Layers and models."""

from schnetgeo.nn.baseline import Baseline
from schnetgeo.nn.basis import BesselBasis, GaussianBasis
from schnetgeo.nn.configurable import Configurable
from schnetgeo.nn.conv import CFConv, RadialConv
from schnetgeo.nn.cutoff import CosineCutoff, PolynomialCutoff, StepCutoff
from schnetgeo.nn.interaction import Interaction
from schnetgeo.nn.mlp import ShiftedSoftplus, num_parameters
from schnetgeo.nn.model import AtomisticModel, EdgeFeatures
from schnetgeo.nn.painn import PaiNN, PaiNNConv
from schnetgeo.nn.readout import MeanReadout, SumReadout
from schnetgeo.nn.schnet import SchNet

__all__ = [
    "AtomisticModel",
    "Baseline",
    "BesselBasis",
    "CFConv",
    "Configurable",
    "CosineCutoff",
    "EdgeFeatures",
    "GaussianBasis",
    "Interaction",
    "MeanReadout",
    "PaiNN",
    "PaiNNConv",
    "PolynomialCutoff",
    "RadialConv",
    "SchNet",
    "ShiftedSoftplus",
    "StepCutoff",
    "SumReadout",
    "num_parameters",
]
