"""What a model was trained on: elements, compositions, distances and ranges of labels."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Bool, Int
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.data.compositions import Compositions, whole
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.short_distances import ShortestDistances
from schnetgeo.data.statistics import element_counts
from schnetgeo.errors import InputError
from schnetgeo.geometry import num_structures
from schnetgeo.notes import note

_NUMBER = len(chemical_symbols)  # of rows of a table by atomic number


class Coverage:
    """What training says nothing about: other elements, other compositions, closer atoms.

    Args:
        counts: (Z,) atoms of each element in the training structures.
        compositions: of structures with a label that is a sum or mean over atoms; `None` where the
            model predicts no such thing.
        labels: smallest and largest number of each label, in its unit.
        distances: shortest ones, where they are known.

    Attributes:
        allow_unseen: whether an unknown element gets a note instead of an `InputError`.
    """

    def __init__(
        self,
        counts: Int[Tensor, "Z"],
        compositions: Compositions | None,
        labels: Mapping[str, tuple[float, float]] = MappingProxyType({}),
        distances: ShortestDistances | None = None,
    ):
        self.counts, self.seen, self.compositions = counts, counts > 0, compositions
        self.labels, self.distances = dict(labels), distances
        self.allow_unseen = self._said_unseen = False
        # the table ends with an element that nobody has, which stands for all beyond it
        self._table = np.append(self.seen.numpy(), False)
        self._last: tuple[bytes, bytes] | None = None

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
        compositions = None if label is None else Compositions(torch.cat(rows), label)
        return cls(total, compositions, ranges)

    def union(self, other: "Coverage") -> "Coverage":
        """What two trainings together cover; the larger count of each element."""
        labels = self.labels | {
            name: _widened(self.labels.get(name, limits), torch.tensor(limits).double())
            for name, limits in other.labels.items()
        }
        both = Coverage(
            torch.maximum(self.counts, other.counts),
            _union(self.compositions, other.compositions),
            labels,
            _union(self.distances, other.distances),
        )
        both.allow_unseen = self.allow_unseen or other.allow_unseen
        return both

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
        of = self.compositions
        return {
            "elements": {chemical_symbols[z]: int(self.counts[z]) for z in self._numbers},
            "compositions": None if of is None else {of.label: of.as_json()},
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
                counts[atomic_numbers[symbol]] = whole(number, 2**60)
            compositions, distances = content["compositions"], content["distances"]
            if compositions is not None:
                ((label, rows),) = compositions.items()
                compositions = Compositions.from_json(rows, label)
            labels = {str(name): (float(a), float(b)) for name, (a, b) in content["labels"].items()}
        except (TypeError, KeyError, ValueError, RuntimeError, AttributeError):
            raise InputError(
                "trained_on does not list elements and compositions; get a fresh copy"
            ) from None
        closest = None if distances is None else ShortestDistances.from_json(distances)
        return cls(counts, compositions, labels, closest)

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
        if self.compositions is None:
            return
        # rows of all elements would be sorted by all of their columns
        parts = [
            element_counts(block, _NUMBER)[:, self.seen].unique(dim=0)
            for block in dataset.iter_chunks()
        ]
        few = torch.cat(parts)
        counts = few.new_zeros(len(few), _NUMBER)
        counts[:, self.seen] = few
        self.compositions.check(counts, dataset.name)

    def _refuse(self, message: str) -> None:
        """Raise `InputError`; with `allow_unseen` note, once, what is missing."""
        if not self.allow_unseen:
            raise InputError(message)
        if not self._said_unseen:
            self._said_unseen = True
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
        if self.compositions is not None:
            number = num_structures(data)
            cell = z if batch is None else batch * _NUMBER + z
            counts = cell.bincount(minlength=number * _NUMBER).reshape(number, _NUMBER)
            self.compositions.check(counts, where)
        self._last = key


def _union(one, other):
    """Of both, or the one that there is."""
    return one.union(other) if one and other else one or other


def _widened(limits: tuple[float, float], values: Tensor) -> tuple[float, float]:
    """Limits that values lie in too."""
    if not values.numel():
        return limits
    return min(limits[0], float(values.min())), max(limits[1], float(values.max()))
