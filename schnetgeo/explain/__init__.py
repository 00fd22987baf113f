"""What a model has learned: of atoms, of pairs of atoms, and of distances."""

from schnetgeo.explain.atoms import atomic_energies, occlusion
from schnetgeo.explain.filters import filter_curves
from schnetgeo.explain.pairs import Pairs, integrated_gradients, pair_gradients

__all__ = [
    "Pairs",
    "atomic_energies",
    "filter_curves",
    "integrated_gradients",
    "occlusion",
    "pair_gradients",
]
