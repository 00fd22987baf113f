"""Changes of the energy against the work of the forces."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from schnetgeo.data.consistency.causes import work_causes
from schnetgeo.data.consistency.evidence import Evidence, slope, spread
from schnetgeo.data.consistency.report import Finding

NEAR = 0.4  # Å between frames, up to which work is looked at
_VERY_NEAR = 0.2  # Å, up to which the work of right forces is certain
_CERTAIN = 0.4  # of the error of the work to the work, above which nothing is said
_WRONG = 0.8  # of the same between frames that are very near
_FOLLOWS = 0.7  # of what the work leaves of the changes to these
_RIGHT = 1.25  # of the slope
_OUTLIER = 10.0  # of the usual deviation
_FEWEST, _MANY = 8, 50  # pairs
_SHARES = (1.0, 0.5, 0.25, 0.1)  # of the pairs, the nearest ones
_OPPOSED = 0.1  # cosine; that of unrelated forces is 0


class WorkTest(NamedTuple):
    """Slope of the changes of energy over the work, and what that leaves."""

    slope: float
    left: float  # spread of ΔE − slope · W, relative to that of ΔE
    pairs: Evidence  # from which these are
    more: Evidence  # pairs that are less near, among which outliers are looked for

    def __str__(self) -> str:
        return (
            f"energies change {self.slope:.3g} times as much as the work of the forces, over "
            f"{len(self.pairs.work):,} pairs of frames up to {self.pairs.distance.max():.2g} Å "
            f"apart; the work leaves {100 * self.left:.0f} % of the changes"
        )


def work_test(evidence: Evidence) -> WorkTest | None:
    """Compare on the nearest pairs between which the work is certain; `None` if there are none.

    How certain it is, triangles of three frames tell, around which the work must vanish.
    """
    evidence = _by_forces(evidence)
    parts = [evidence.select(slice(int(share * len(evidence.work)))) for share in _SHARES]
    certain = [part for part in parts if len(part.work) >= _FEWEST and _error(part) < _CERTAIN]
    if not certain:
        return None
    best = min(
        (part for part in certain if len(part.work) >= _MANY), key=_error, default=certain[0]
    )
    factor, size = slope(best.energy, best.work), spread(best.energy)
    left = spread(best.energy - factor * best.work) / max(size, 1e-12)
    return WorkTest(factor, left, best, certain[0])


def _by_forces(evidence: Evidence) -> Evidence:
    """Pairs between which forces do the work, in the order of their distance."""
    chosen = (evidence.distance < NEAR) & (evidence.work != 0)
    # what the stress leaves is certain only where it is not much smaller
    chosen &= np.abs(evidence.strain_work) <= 10 * np.abs(evidence.work)
    evidence = evidence.select(chosen)
    return evidence.select(np.argsort(evidence.distance))


def _error(pairs: Evidence) -> float:
    """Error of the work by the trapezoidal rule, relative to the work."""
    return spread(pairs.closure) / max(spread(pairs.work), 1e-12)


def closure_findings(evidence: Evidence) -> list[Finding]:
    """Forces whose work depends on the way even between frames that are very near."""
    pairs = _by_forces(evidence)
    if len(pairs.work) < _FEWEST:
        return []
    cause = "they belong to other atoms or frames: rows in another order"
    near = pairs.select(pairs.distance < _VERY_NEAR)
    if len(near.work) >= _FEWEST and _error(near) > _WRONG:
        text = (
            f"their work around three frames less than {_VERY_NEAR} Å apart does not vanish: it "
            f"is {_error(near):.2g} of that between two"
        )
        return [Finding("forces", text, cause)]
    opposition = float(np.median(pairs.opposition))
    if abs(opposition) < _OPPOSED and _error(pairs) > _CERTAIN:
        text = (
            f"their changes between near frames have nothing to do with the displacements: the "
            f"cosine is {opposition:.2g}"
        )
        return [Finding("forces", text, cause)]
    return []


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
    if 1 / _RIGHT < test.slope < _RIGHT:
        return _outliers(test.more)
    return [
        Finding(
            "energy",
            f"energies change {test.slope:.3g} times as much as the work of the forces",
            " or ".join(work_causes(test.slope))
            or "energies and forces are of different methods or units",
        )
    ]


def _outliers(pairs: Evidence) -> list[Finding]:
    """Frames all of whose neighbors have other energies than the forces say."""
    jump = np.abs(pairs.energy - pairs.work)
    # the error of the trapezoidal rule grows as the third power of the distance
    usual = spread(jump / pairs.distance**3) * pairs.distance**3
    bad = jump > _OUTLIER * np.maximum(np.maximum(spread(jump), spread(pairs.closure)), usual)
    frames, rest = [], np.ones(len(bad), bool)
    while (frame := _worst(pairs.select(rest), bad[rest])) is not None:
        frames.append(frame)
        rest &= (pairs.first != frame) & (pairs.second != frame)
    if not frames:
        return []
    concerned = bad & (np.isin(pairs.first, frames) | np.isin(pairs.second, frames))
    return [
        Finding(
            "energy",
            "their energies differ from what forces and energies of their neighbors say, by "
            f"{np.median(jump[concerned]):.3g} eV",
            "they were computed with other settings, did not converge, or belong to other frames",
            tuple(sorted(frames)),
        )
    ]


def _worst(pairs: Evidence, bad: np.ndarray) -> int | None:
    """The frame with the most bad pairs, two at least, where they are most of its pairs."""
    total = Counter(np.concatenate([pairs.first, pairs.second]).tolist())
    wrong = Counter(np.concatenate([pairs.first[bad], pairs.second[bad]]).tolist())
    frames = [(n, k) for k, n in wrong.items() if n >= 2 and n > 0.7 * total[k]]
    return max(frames)[1] if frames else None
