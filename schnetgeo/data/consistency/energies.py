"""Changes of the energy against the work of the forces."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from schnetgeo.data.consistency.causes import energy_causes
from schnetgeo.data.consistency.evidence import Evidence, slope, spread
from schnetgeo.data.consistency.report import Finding

_CERTAIN = 0.4  # of the error of the work to the work, above which nothing is said
_FOLLOWS = 0.7  # of what the work leaves of the changes to these
_RIGHT = 1.25  # of the slope
_OUTLIER = 10.0  # of the usual deviation
_FEWEST = 8  # pairs


class WorkTest(NamedTuple):
    """Slope of the changes of energy over the work, and what that leaves."""

    slope: float
    left: float  # spread of ΔE − slope · W, relative to that of ΔE
    error: float  # of the work by the trapezoidal rule, relative to the work
    pairs: Evidence

    def __str__(self) -> str:
        return (
            f"energies change {self.slope:.3g} times as much as the work of the forces over "
            f"{len(self.pairs.work):,} pairs of frames {self.pairs.distance.max():.2g} Å apart or "
            f"less, with {100 * self.left:.0f} % left"
        )


def work_test(evidence: Evidence) -> WorkTest | None:
    """Compare on the nearest pairs between which the work is certain; `None` if there are none.

    How certain it is, triangles of three frames tell, around which the work must vanish.
    """
    # a stress in a wrong unit is looked for elsewhere
    evidence = evidence.select(np.abs(evidence.strain_work) <= 0.1 * np.abs(evidence.work))
    evidence = evidence.select(np.argsort(evidence.distance))
    for share in (1.0, 0.5, 0.25, 0.1):
        pairs = evidence.select(slice(int(share * len(evidence.work))))
        if len(pairs.work) < _FEWEST:
            return None
        error = spread(pairs.closure) / max(spread(pairs.work), 1e-12)
        if error < _CERTAIN:
            factor = slope(pairs.energy, pairs.work)
            left = spread(pairs.energy - factor * pairs.work) / max(spread(pairs.energy), 1e-12)
            return WorkTest(factor, left, error, pairs)
    return None


def energy_findings(test: WorkTest) -> list[Finding]:
    """Energies that do not follow the forces, all or some of them."""
    if test.left > _FOLLOWS:
        return [
            Finding(
                "energy",
                f"energies do not follow the forces: {100 * test.left:.0f} % of their changes are "
                "left when the work is subtracted",
                "they belong to other structures, or the forces do: rows in another order",
            )
        ]
    if not 1 / _RIGHT < test.slope < _RIGHT:
        causes = list(energy_causes(test.slope))
        return [
            Finding(
                "energy",
                f"energies change {test.slope:.3g} times as much as the work of the forces",
                " or ".join(causes) or "energies and forces are of different methods or units",
            )
        ]
    return _outliers(test)


def _outliers(test: WorkTest) -> list[Finding]:
    """Frames all of whose neighbors have other energies than the forces say."""
    pairs = test.pairs
    jump = pairs.energy - pairs.work
    bad = np.abs(jump) > _OUTLIER * np.maximum(spread(jump), spread(pairs.closure))
    frames: list[int] = []
    while True:
        ends = np.concatenate([pairs.first[bad], pairs.second[bad]]).tolist()
        all_ends = Counter(np.concatenate([pairs.first, pairs.second]).tolist())
        worst = [(n, k) for k, n in Counter(ends).items() if n >= 2 and n > 0.7 * all_ends[k]]
        if not worst:
            break
        _, frame = max(worst)
        frames.append(frame)
        rest = (pairs.first != frame) & (pairs.second != frame)
        pairs, bad = pairs.select(rest), bad[rest]
    if not frames:
        return []
    return [
        Finding(
            "energy",
            "their energies differ from what the forces of their neighbors say, by "
            f"{np.median(np.abs(jump[np.isin(test.pairs.first, frames)])):.3g} eV",
            "they were computed with other settings, did not converge, or belong to other frames",
            tuple(sorted(frames)),
        )
    ]
