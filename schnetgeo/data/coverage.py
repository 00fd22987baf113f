"""Elements and compositions that a model was trained on."""

import itertools
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Bool, Int
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.statistics import element_counts, formula
from schnetgeo.errors import InputError
from schnetgeo.geometry import num_structures
from schnetgeo.notes import note

_NUMBER = len(chemical_symbols)  # of rows of a table by atomic number
_MOST = 10**6  # atoms of an element in a structure
_DEPENDENT = 1e-6  # relative length of what is left of a vector that others add up to


class Coverage:
    """What training says about energies: nothing of other elements, little of other compositions.

    The energy of a composition c (atoms of each element) is determined where c = Σ_k a_k c_k with
    compositions c_k of training structures: of ethanol and its dimer after training on ethanol,
    but not of water. Offsets of other compositions are arbitrary, forces are not concerned.

    Args:
        seen: (Z,) elements that training structures have.
        rows: (R, Z) atoms of each element in training structures with energies, as many as are
            linearly independent.
    """

    def __init__(self, seen: Bool[Tensor, "Z"], rows: Int[Tensor, "R Z"]):
        self.seen, self.rows = seen, rows
        # the table ends with an element that nobody has, which stands for all beyond it
        self._table = np.append(seen.numpy(), False)
        self._span = torch.linalg.svd(rows.double(), full_matrices=False).Vh
        self._last: tuple[bytes, bytes] | None = None
        self._said: set[bytes] = set()

    @classmethod
    def of(cls, train: StructureDataset) -> "Coverage":
        """The coverage of training structures."""
        seen, rows = [], [torch.zeros(0, _NUMBER, dtype=torch.long)]
        for block in train.iter_chunks():
            counts = element_counts(block, _NUMBER)
            seen.append(counts.any(0))
            if block.has_property("energy"):
                rows.append(counts[block.mask("energy")].unique(dim=0))
        return cls(torch.stack(seen).any(0), independent_rows(torch.cat(rows)))

    def union(self, other: "Coverage") -> "Coverage":
        """What two trainings together cover."""
        rows = independent_rows(torch.cat([self.rows, other.rows]))
        return Coverage(self.seen | other.seen, rows)

    @property
    def elements(self) -> list[str]:
        """Symbols of the elements of training, in the order of the periodic table."""
        return [chemical_symbols[z] for z in self.seen.nonzero().flatten().tolist()]

    def as_json(self) -> dict:
        """Symbols, and as many compositions as are linearly independent."""
        rows = [
            {chemical_symbols[z]: int(row[z]) for z in row.nonzero().flatten().tolist()}
            for row in self.rows
        ]
        return {"elements": self.elements, "compositions": rows}

    @classmethod
    def from_json(cls, content: Mapping) -> "Coverage":
        """The inverse of `as_json`.

        Raises:
            InputError: for anything else, and for counts of atoms outside 1 … 1,000,000.
        """
        try:
            seen = torch.zeros(_NUMBER, dtype=torch.bool)
            seen[[atomic_numbers[symbol] for symbol in content["elements"]]] = True
            rows = torch.zeros(len(content["compositions"]), _NUMBER, dtype=torch.long)
            for row, composition in zip(rows, content["compositions"], strict=True):
                for symbol, number in composition.items():
                    row[atomic_numbers[symbol]] = _whole(number)
        except (TypeError, KeyError, ValueError, RuntimeError, AttributeError):
            raise InputError(
                "trained_on does not list elements and compositions; get a fresh copy"
            ) from None
        return cls(seen, rows)

    def check_elements(self, data: Data, where: str = "structure") -> None:
        """Raise `InputError` for an element that no training structure has."""
        z = data.z.cpu().numpy()
        known = self._table.take(z, mode="clip")
        if not known.all():
            raise InputError(f"{where}: has {self._unknown(z[~known])}")

    def known(self, dataset: StructureDataset) -> Bool[Tensor, "B"]:
        """Which structures have no element but those of training."""
        counts = (element_counts(block, _NUMBER) for block in dataset.iter_chunks())
        return torch.cat([~part[:, ~self.seen].any(1) for part in counts])

    def keep_known(self, dataset: StructureDataset) -> StructureDataset:
        """The structures without unknown elements; a note counts those that are left out."""
        known = self.known(dataset) if len(dataset) else torch.ones(0, dtype=torch.bool)
        if known.all():
            return dataset
        z = dataset[~known].get_property("z")
        names = ", ".join(chemical_symbols[k] for k in z[~self.seen[z]].unique().tolist())
        note(
            f"{dataset.name}: {int((~known).sum())} of {len(dataset)} structures are left out of "
            f"validation or test, because no training structure has {names}; train on more "
            "structures to learn them"
        )
        return dataset[known]

    def check_dataset(self, dataset: StructureDataset) -> None:
        """As `check`, once for all structures."""
        if not len(dataset):
            return
        known = self.known(dataset)
        if not known.all():
            z, first = dataset[~known].get_property("z"), int((~known).nonzero()[0])
            raise InputError(
                f"{dataset.name}: {int((~known).sum())} of {len(dataset)} structures, the first "
                f"is {first}, have {self._unknown(z[~self.seen[z]].numpy())}"
            )
        # rows of all elements would be sorted by all of their columns
        parts = [
            element_counts(block, _NUMBER)[:, self.seen].unique(dim=0)
            for block in dataset.iter_chunks()
        ]
        few = torch.cat(parts)
        counts = few.new_zeros(len(few), _NUMBER)
        counts[:, self.seen] = few
        self.check_counts(counts, dataset.name)

    def _unknown(self, z: np.ndarray) -> str:
        """What a message says of elements that training does not have."""
        names = [chemical_symbols[k] if k < _NUMBER else "?" for k in np.unique(z)]
        listed = ", ".join(f"{n} (z = {k})" for n, k in zip(names, np.unique(z), strict=True))
        return (
            f"{listed}, of which this model was trained on no structure; it knows "
            f"{', '.join(self.elements)}; leave such structures out, or train on some"
        )

    def check(self, data: Data, where: str = "structure") -> None:
        """As `check_elements`; and warn, once for each, of compositions that are not determined."""
        z, batch = data.z, data.get("batch")
        if z.device.type != "cpu":
            z, batch = z.cpu(), None if batch is None else batch.cpu()
        key = z.numpy().tobytes(), b"" if batch is None else batch.numpy().tobytes()
        if key == self._last:  # as in every step of dynamics
            return
        self.check_elements(data, where)
        number = num_structures(data)
        cell = z if batch is None else batch * _NUMBER + z
        counts = cell.bincount(minlength=number * _NUMBER).reshape(number, _NUMBER)
        self.check_counts(counts, where)
        self._last = key

    def check_counts(self, counts: Int[Tensor, "B Z"], where: str) -> None:
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
        trained = _formulas(self.rows) or "no energies"
        more_trained = " and more" if len(self.rows) > 3 else ""
        note(
            f"{where}: training on {trained}{more_trained} does not determine the energy of "
            f"{names}{more}: it may be off by many eV, the same for all structures of a "
            "composition (forces are not concerned); train on such compositions, or give energies "
            "of some to refit_references"
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


def _whole(number: object) -> int:
    if type(number) is not int or not 0 < number <= _MOST:
        raise ValueError(number)
    return number
