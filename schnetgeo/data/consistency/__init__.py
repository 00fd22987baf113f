"""Do energies, forces and stresses of a data set belong together, and in which units?"""

from schnetgeo.data.consistency.check import check_data
from schnetgeo.data.consistency.report import Finding, Report

__all__ = ["Finding", "Report", "check_data"]
