"""Energies, forces, stress and further targets from a model, and the file that keeps it."""

from schnetgeo.potential.ensemble import Ensemble
from schnetgeo.potential.load import load
from schnetgeo.potential.potential import Potential
from schnetgeo.potential.prediction import Prediction

__all__ = ["Ensemble", "Potential", "Prediction", "load"]
