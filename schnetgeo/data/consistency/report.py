"""What a check of data finds, and what it measured."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_SHOWN = 8  # structures that are named


class Finding(NamedTuple):
    """Something that no calculation gives.

    Attributes:
        kind: "energy", "forces", "stress", "positions" or "copies".
        text: what is wrong, with numbers.
        cause: what would explain it, and the remedy.
        structures: indices of those concerned; empty where all are.
    """

    kind: str
    text: str
    cause: str
    structures: tuple[int, ...] = ()

    def __str__(self) -> str:
        where = f"{named(self.structures)}: " if self.structures else ""
        return f"{self.kind}: {where}{self.text}; {self.cause}"


class Report(NamedTuple):
    """Findings, and what was measured on the way.

    Attributes:
        name: of the data set.
        findings: faults; empty where labels and geometries belong together.
        facts: measured quantities in words.
        untested: what could not be tested, and why.
    """

    name: str
    findings: list[Finding]
    facts: list[str]
    untested: list[str]

    def __str__(self) -> str:
        number = len(self.findings)
        count = f"{number or 'no'} fault{'s' * (number != 1)}"
        lines = [f"{self.name}: {count}", *map(str, self.findings)]
        lines += [f"measured: {fact}" for fact in self.facts]
        lines += [f"not tested: {text}" for text in self.untested]
        return "\n".join(lines)


def named(structures: Sequence[int]) -> str:
    """Such as "structures 3, 8, 11 and 40 more"."""
    shown = ", ".join(map(str, structures[:_SHOWN]))
    more = len(structures) - _SHOWN
    word = "structure" if len(structures) == 1 else "structures"
    return f"{word} {shown}" + (f" and {more:,} more" if more > 0 else "")


def indices(chosen: np.ndarray, of: np.ndarray | None = None) -> tuple[int, ...]:
    """Where a mask is true, as numbers of structures."""
    places = np.flatnonzero(chosen)
    return tuple((places if of is None else of[places]).tolist())
