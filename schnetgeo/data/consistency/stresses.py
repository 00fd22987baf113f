"""Changes of the energy against the work of the stress, where cells change."""

import numpy as np

from schnetgeo.data.consistency.causes import stress_causes
from schnetgeo.data.consistency.energies import NEAR
from schnetgeo.data.consistency.evidence import Evidence, spread, two_slopes
from schnetgeo.data.consistency.report import Finding

_RIGHT = 1.25
_FEWEST = 5
_FEW = 1e-3  # of the changes of energy
_FOLLOWS = 0.7  # of what both leave of the changes to these
_STRAINED = 1e-4  # eV that the work of the stress must be


def without_strain(evidence: Evidence) -> tuple[Evidence, float | None]:
    """What is left for the forces, and the slope of the energies over the work of the stress.

    ΔE = s W + t W_σ is solved for both slopes, and t W_σ subtracted. The slope is t / s, as if
    energies and forces belonged together, and `None` where cells hardly change or the energies
    follow neither.
    """
    near = evidence.distance < NEAR
    strained = near & (np.abs(evidence.strain_work) > _STRAINED)
    if strained.sum() < _FEWEST:
        return evidence, None
    pairs = evidence.select(near)
    factor, tension = two_slopes(pairs.energy, pairs.work, pairs.strain_work)
    left = pairs.energy - factor * pairs.work - tension * pairs.strain_work
    if spread(left) > _FOLLOWS * spread(pairs.energy):
        return evidence, None
    if spread(factor * pairs.work[strained[near]]) < _FEW * spread(pairs.energy[strained[near]]):
        factor = 1.0  # forces hardly do any work, and do not tell
    ratio = tension / factor if factor else tension
    rest = evidence._replace(
        energy=evidence.energy - tension * evidence.strain_work,
        strain_work=ratio * evidence.strain_work,
        closure=evidence.closure + ratio * evidence.strain_closure,
    )
    return rest, ratio


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
