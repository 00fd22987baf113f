"""Potentials as files for other programs, see docs/programs.md."""

from schnetgeo.export.metatomic import to_metatomic
from schnetgeo.export.pt2 import to_pt2

__all__ = ["to_metatomic", "to_pt2"]
