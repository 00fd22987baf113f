"""Changes of the energy against the work of the stress, where cells change."""

import numpy as np

from schnetgeo.data.consistency.causes import stress_causes
from schnetgeo.data.consistency.energies import NEAR
from schnetgeo.data.consistency.evidence import Evidence, slope
from schnetgeo.data.consistency.report import Finding

_RIGHT = 1.25
_FEWEST = 5
_STRAINED = 1e-4  # eV that the work of the stress must be


def stress_slope(evidence: Evidence, factor: float) -> tuple[float, float] | None:
    """Slope of ΔE − factor · W of forces over the work of the stress, and the mean volume (Å³).

    `None` where cells hardly change.
    """
    rest = evidence.energy - factor * evidence.work
    strained = (np.abs(evidence.strain_work) > _STRAINED) & (evidence.distance < NEAR)
    # cells that differ by strain, and hardly in their atoms
    strained &= np.abs(rest) > 2 * np.abs(evidence.work)
    if strained.sum() < _FEWEST:
        return None
    volume = float(np.median(evidence.volume[strained]))
    return slope(rest[strained], evidence.strain_work[strained]), volume


def stress_findings(measured: float, volume: float) -> list[Finding]:
    """A stress that is not the derivative of the energy by strain."""
    if 1 / _RIGHT < measured < _RIGHT:
        return []
    factor = 1 / measured if measured else np.inf
    return [
        Finding(
            "stress",
            f"it is {factor:.3g} times what the energies of cells of other shapes say",
            " or ".join(stress_causes(factor, volume)) or "it is in another unit or of other cells",
        )
    ]
