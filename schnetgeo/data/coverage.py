"""What a model was trained on: elements, compositions, distances and ranges of labels."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Bool, Int
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.short_distances import ShortestDistances
from schnetgeo.data.statistics import element_counts, formula
from schnetgeo.errors import InputError
from schnetgeo.geometry import num_structures
from schnetgeo.notes import note

_NUMBER = len(chemical_symbols)  # of rows of a table by atomic number
_MOST = 10**6  # atoms of an element in a structure
_OFFSET = "much, the same for all structures of a composition; train on such compositions"
_OFFSETS = {
    "energy": "many eV, the same for all structures of a composition (forces are not concerned); "
    "train on such compositions, or give energies of some to refit_references"
}
_DEPENDENT = 1e-6  # relative length of what is left of a vector that others add up to


class Coverage:
    """What training says about energies: nothing of other elements, little of other compositions.

    The energy of a composition c (atoms of each element) is determined where c = Σ_k a_k c_k with
    compositions c_k of training structures: of ethanol and its dimer after training on ethanol,
    but not of water. Offsets of other compositions are arbitrary, forces are not concerned.

    Args:
        counts: (Z,) atoms of each element in the training structures.
        rows: (R, Z) atoms of each element in training structures with energies, as many as are
            linearly independent.
        label: what `rows` are about, "energy" unless the model predicts something else; `None`
            where nothing is a sum or mean over atoms, and no composition is looked at.
        labels: smallest and largest number of each label, in its unit.
        distances: shortest ones, where they are known.

    Attributes:
        allow_unseen: whether an unknown element gets a note instead of an `InputError`.
    """

    def __init__(
        self,
        counts: Int[Tensor, "Z"],
        rows: Int[Tensor, "R Z"],
        label: str | None = "energy",
        labels: Mapping[str, tuple[float, float]] = MappingProxyType({}),
        distances: ShortestDistances | None = None,
    ):
        self.counts, self.seen, self.rows = counts, counts > 0, rows
        self.label, self.labels, self.distances = label, dict(labels), distances
        self.allow_unseen = False
        # the table ends with an element that nobody has, which stands for all beyond it
        self._table = np.append(self.seen.numpy(), False)
        self._span = torch.linalg.svd(rows.double(), full_matrices=False).Vh
        self._last: tuple[bytes, bytes] | None = None
        self._said: set[bytes] = set()

    @classmethod
    def of(
        cls,
        train: StructureDataset,
        label: str | None = "energy",
        labels: Sequence[str] = ("energy", "forces", "stress"),
    ) -> "Coverage":
        """The coverage of training structures.

        Args:
            train: the structures.
            label: whose compositions count.
            labels: whose ranges are looked at, where the structures have them.
        """
        total = torch.zeros(_NUMBER, dtype=torch.long)
        rows = [torch.zeros(0, _NUMBER, dtype=torch.long)]
        ranges = {name: (math.inf, -math.inf) for name in labels if train.has_label(name)}
        for block in train.iter_chunks():
            counts = element_counts(block, _NUMBER)
            total += counts.sum(0)
            if label is not None and block.has_property(label):
                rows.append(counts[block.mask(label)].unique(dim=0))
            for name, limits in ranges.items():
                ranges[name] = _widened(limits, block.get_property(name)[block.mask(name)])
        return cls(total, independent_rows(torch.cat(rows)), label, ranges)

    def union(self, other: "Coverage") -> "Coverage":
        """What two trainings together cover; the larger count of each element."""
        labels = self.labels | {
            name: _widened(self.labels.get(name, limits), torch.tensor(limits).double())
            for name, limits in other.labels.items()
        }
        distances = self.distances or other.distances
        if self.distances and other.distances:
            distances = self.distances.union(other.distances)
        return Coverage(
            torch.maximum(self.counts, other.counts),
            independent_rows(torch.cat([self.rows, other.rows])),
            self.label,
            labels,
            distances,
        )

    def look_at_distances(self, train: StructureDataset, cutoff: float) -> None:
        """Note the shortest distances of training structures with edges up to a cutoff, Å."""
        if train.transform is None:  # which may move atoms
            closest = ShortestDistances.of(train, cutoff)
            self.distances = closest if self.distances is None else self.distances.union(closest)

    def check_distances(self, data: Data, where: str = "structure") -> None:
        """Note, once, that atoms are closer than any of their elements in training; needs edges."""
        if self.distances is not None:
            self.distances.check(data, where)

    @property
    def elements(self) -> list[str]:
        """Symbols of the elements of training, in the order of the periodic table."""
        return [chemical_symbols[z] for z in self._numbers]

    @property
    def _numbers(self) -> list[int]:
        return self.seen.nonzero().flatten().tolist()

    def as_json(self) -> dict:
        """Atoms of each element, linearly independent compositions, distances and labels."""
        rows = [
            {chemical_symbols[z]: int(row[z]) for z in row.nonzero().flatten().tolist()}
            for row in self.rows
        ]
        return {
            "elements": {chemical_symbols[z]: int(self.counts[z]) for z in self._numbers},
            "compositions": rows,
            "label": self.label,
            "labels": {name: list(limits) for name, limits in self.labels.items()},
            "distances": None if self.distances is None else self.distances.as_json(),
        }

    @classmethod
    def from_json(cls, content: Mapping) -> "Coverage":
        """The inverse of `as_json`.

        Raises:
            InputError: for anything else, and for counts of atoms outside 1 … 1,000,000.
        """
        try:
            counts = torch.zeros(_NUMBER, dtype=torch.long)
            for symbol, number in content["elements"].items():
                counts[atomic_numbers[symbol]] = _whole(number, 2**60)
            rows = torch.zeros(len(content["compositions"]), _NUMBER, dtype=torch.long)
            for row, composition in zip(rows, content["compositions"], strict=True):
                for symbol, number in composition.items():
                    row[atomic_numbers[symbol]] = _whole(number, _MOST)
            labels = {str(name): (float(a), float(b)) for name, (a, b) in content["labels"].items()}
            label, distances = content["label"], content["distances"]
            if not isinstance(label, str | None):
                raise TypeError(label)
        except (TypeError, KeyError, ValueError, RuntimeError, AttributeError):
            raise InputError(
                "trained_on does not list elements and compositions; get a fresh copy"
            ) from None
        closest = None if distances is None else ShortestDistances.from_json(distances)
        return cls(counts, rows, label, labels, closest)

    def check_elements(self, data: Data, where: str = "structure") -> None:
        """Raise `InputError` for an element that no training structure has."""
        z = data.z.cpu().numpy()
        known = self._table.take(z, mode="clip")
        if not known.all():
            self._refuse(f"{where}: has {self._unknown(z[~known])}")

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
            self._refuse(
                f"{dataset.name}: {int((~known).sum())} of {len(dataset)} structures, the first "
                f"is {first}, have {self._unknown(z[~self.seen[z]].numpy())}"
            )
            return
        # rows of all elements would be sorted by all of their columns
        parts = [
            element_counts(block, _NUMBER)[:, self.seen].unique(dim=0)
            for block in dataset.iter_chunks()
        ]
        few = torch.cat(parts)
        counts = few.new_zeros(len(few), _NUMBER)
        counts[:, self.seen] = few
        self.check_counts(counts, dataset.name)

    def _refuse(self, message: str) -> None:
        """Raise `InputError`; with `allow_unseen` note, once, what is missing."""
        if not self.allow_unseen:
            raise InputError(message)
        if b"unseen" not in self._said:
            self._said.add(b"unseen")
            note(f"{message}; allow_unseen=True: its reference is missing, its energies arbitrary")

    def _unknown(self, z: np.ndarray) -> str:
        """What a message says of elements that training does not have."""
        names = [chemical_symbols[k] if k < _NUMBER else "?" for k in np.unique(z)]
        listed = ", ".join(f"{n} (z = {k})" for n, k in zip(names, np.unique(z), strict=True))
        return (
            f"{listed}, of which this model was trained on no structure; it knows "
            f"{', '.join(self.elements)}; leave such structures out, train on some, or load the "
            "model with allow_unseen=True"
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
        if self.label is None:
            return
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


def _widened(limits: tuple[float, float], values: Tensor) -> tuple[float, float]:
    """Limits that values lie in too."""
    if not values.numel():
        return limits
    return min(limits[0], float(values.min())), max(limits[1], float(values.max()))


def _whole(number: object, most: int) -> int:
    if type(number) is not int or not 0 < number <= most:
        raise ValueError(number)
    return number
