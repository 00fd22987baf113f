"""Potentials as files for other programs."""

from schnetgeo.export.metatomic import to_metatomic

__all__ = ["to_metatomic"]
