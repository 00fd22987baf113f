"""Layers and models."""

from schnetgeo.nn.baseline import Baseline
from schnetgeo.nn.basis import BesselBasis, GaussianBasis
from schnetgeo.nn.configurable import Configurable
from schnetgeo.nn.conv import CFConv, RadialConv
from schnetgeo.nn.cutoff import CosineCutoff, MollifierCutoff, PolynomialCutoff, StepCutoff
from schnetgeo.nn.dipole import (
    ChargeReadout,
    DipoleNormReadout,
    DipoleReadout,
    LocalDipoleReadout,
    MassCenteredDipoleNormReadout,
)
from schnetgeo.nn.heads import Heads
from schnetgeo.nn.interaction import Interaction
from schnetgeo.nn.mlp import ShiftedSoftplus, num_parameters
from schnetgeo.nn.model import AtomisticModel, EdgeFeatures
from schnetgeo.nn.neighbor_embedding import NeighborSchNet
from schnetgeo.nn.painn import PaiNN, PaiNNConv
from schnetgeo.nn.polarizability import PolarizabilityReadout
from schnetgeo.nn.readout import (
    AtomReadout,
    MeanReadout,
    Readout,
    ShiftedSumReadout,
    SumReadout,
)
from schnetgeo.nn.schnet import SchNet
from schnetgeo.nn.spatial_extent import SpatialExtentReadout
from schnetgeo.nn.state_embedding import StateEmbedding
from schnetgeo.nn.stored_basis import ExpNormalBasis, StoredBesselBasis, StoredGaussianBasis
from schnetgeo.nn.usual_readouts import readout_for

__all__ = [
    "SpatialExtentReadout",
    "PolarizabilityReadout",
    "LocalDipoleReadout",
    "DipoleReadout",
    "DipoleNormReadout",
    "ChargeReadout",
    "AtomReadout",
    "AtomisticModel",
    "Baseline",
    "BesselBasis",
    "CFConv",
    "Configurable",
    "CosineCutoff",
    "EdgeFeatures",
    "ExpNormalBasis",
    "GaussianBasis",
    "Heads",
    "Interaction",
    "MassCenteredDipoleNormReadout",
    "MeanReadout",
    "MollifierCutoff",
    "NeighborSchNet",
    "PaiNN",
    "PaiNNConv",
    "PolynomialCutoff",
    "RadialConv",
    "Readout",
    "SchNet",
    "ShiftedSoftplus",
    "ShiftedSumReadout",
    "StateEmbedding",
    "StepCutoff",
    "StoredBesselBasis",
    "StoredGaussianBasis",
    "SumReadout",
    "num_parameters",
    "readout_for",
]
