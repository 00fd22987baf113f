"""Compositions whose energy, or another sum over atoms, training determines."""

import itertools
from collections.abc import Iterable, Mapping, Sequence

import torch
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Int
from torch import Tensor

from schnetgeo.data.statistics import formula
from schnetgeo.notes import note

_NUMBER = len(chemical_symbols)  # of rows of a table by atomic number
_MOST = 10**6  # atoms of an element in a structure
_DEPENDENT = 1e-6  # relative length of what is left of a vector that others add up to
_OFFSET = "much, the same for all structures of a composition; train on such compositions"
_OFFSETS = {
    "energy": "many eV, the same for all structures of a composition (forces are not concerned); "
    "train on such compositions, or give energies of some to refit_references"
}


class Compositions:
    """Atoms of each element in training structures that have a label.

    The energy of a composition c (atoms of each element) is determined where c = Σ_k a_k c_k with
    compositions c_k of training structures: of ethanol and its dimer after training on ethanol,
    but not of water. Offsets of other compositions are arbitrary, forces are not concerned.

    Args:
        rows: (R, Z) atoms of each element; of rows that depend on others one is enough.
        label: "energy", or what else is a sum or mean over atoms.
    """

    def __init__(self, rows: Int[Tensor, "R Z"], label: str = "energy"):
        self.rows, self.label = independent_rows(rows), label
        self._span = torch.linalg.svd(self.rows.double(), full_matrices=False).Vh
        self._said: set[bytes] = set()

    def union(self, other: "Compositions") -> "Compositions":
        """Those of both, with the label of these."""
        return Compositions(torch.cat([self.rows, other.rows]), self.label)

    def as_json(self) -> list[dict[str, int]]:
        """Atoms of each element by its symbol, as many compositions as are independent."""
        return [
            {chemical_symbols[z]: int(row[z]) for z in row.nonzero().flatten().tolist()}
            for row in self.rows
        ]

    @classmethod
    def from_json(cls, content: Sequence[Mapping], label: str) -> "Compositions":
        """The inverse of `as_json`; what has another form raises one of Python's own errors."""
        rows = torch.zeros(len(content), _NUMBER, dtype=torch.long)
        for row, composition in zip(rows, content, strict=True):
            for symbol, number in composition.items():
                row[atomic_numbers[symbol]] = whole(number, _MOST)
        return cls(rows, label)

    def check(self, counts: Int[Tensor, "B Z"], where: str) -> None:
        """Warn of compositions that are not linear combinations of those of training."""
        exact = counts.double()
        rest = exact - exact @ self._span.mT @ self._span
        undetermined = torch.linalg.vector_norm(rest, dim=1) > _DEPENDENT * exact.sum(1)
        kinds = {row.numpy().tobytes(): row for row in counts[undetermined]}
        new = {key: row for key, row in kinds.items() if key not in self._said}
        if not new:
            return
        self._said |= new.keys()
        names = _formulas(new.values())
        more = f" and {len(new) - 3} more" if len(new) > 3 else ""
        trained = _formulas(self.rows) or f"no {self.label}"
        more_trained = " and more" if len(self.rows) > 3 else ""
        note(
            f"{where}: training on {trained}{more_trained} does not determine the {self.label} of "
            f"{names}{more}: it may be off by {_OFFSETS.get(self.label, _OFFSET)}"
        )


def independent_rows(counts: Int[Tensor, "B Z"]) -> Int[Tensor, "R Z"]:
    """Rows that all others are linear combinations of."""
    rows = torch.unique(counts, dim=0)
    rest, chosen = rows.double(), []
    size = torch.linalg.vector_norm(rest, dim=1)
    while len(rest):
        length = torch.linalg.vector_norm(rest, dim=1)
        best = int((length / size.clamp(min=1)).argmax())
        if length[best] <= _DEPENDENT * size[best]:
            break
        chosen.append(best)
        direction = rest[best] / length[best]
        rest = rest - (rest @ direction).unsqueeze(1) * direction
    return rows[chosen]


def _formulas(rows: Iterable[Int[Tensor, "Z"]]) -> str:
    """The first three, such as C2H6O, CH4, H2O."""
    return ", ".join(formula(dict(enumerate(row.tolist()))) for row in itertools.islice(rows, 3))


def whole(number: object, most: int) -> int:
    """A whole number from 1 on, or a `ValueError`."""
    if type(number) is not int or not 0 < number <= most:
        raise ValueError(number)
    return number
