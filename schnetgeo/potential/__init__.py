"""Energies, forces and stress from a model, and the file that keeps it."""

from schnetgeo.potential.potential import Potential, Prediction, load

__all__ = ["Potential", "Prediction", "load"]
