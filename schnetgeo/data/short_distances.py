"""How close atoms of two elements came in training."""

import copy
from collections.abc import Mapping

import torch
from ase.data import atomic_numbers, chemical_symbols
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.data.packed import StructureDataset
from schnetgeo.errors import InputError
from schnetgeo.geometry import distances, edge_vectors
from schnetgeo.notes import note

_NUMBER = len(chemical_symbols)  # of rows of a table by atomic number
_MOST, _BLOCK = 10_000, 1000  # structures looked at, and at once
_MARGIN = 0.95  # shorter by less is said nothing of


class ShortestDistances:
    """The shortest distance of each two elements; the cutoff for those that came no closer.

    Args:
        table: (Z, Z) in Å, symmetric.
        cutoff: Å.
    """

    def __init__(self, table: Float[Tensor, "Z Z"], cutoff: float):
        self.table, self.cutoff = table, float(cutoff)
        self._said = False

    @classmethod
    def of(cls, train: StructureDataset, cutoff: float) -> "ShortestDistances":
        """Those of training structures with edges; of 10,000 of them where there are more."""
        table = torch.full((_NUMBER * _NUMBER,), float(cutoff), dtype=torch.float64)
        some = train[:: -(-len(train) // _MOST)]
        for block in some.iter_chunks(_BLOCK):
            pair, length = _pairs(block.batch(range(len(block))))
            table.scatter_reduce_(0, pair, length, "amin")
        return cls(table.reshape(_NUMBER, _NUMBER), cutoff)

    def union(self, other: "ShortestDistances") -> "ShortestDistances":
        """The shorter of both."""
        return ShortestDistances(
            torch.minimum(self.table, other.table), min(self.cutoff, other.cutoff)
        )

    def check(self, data: Data, where: str = "structure") -> None:
        """Note, the first time, that atoms are closer than in training by more than 5 %.

        Args:
            data: structures with edges; not looked at on a GPU.
            where: what the note calls their origin.
        """
        if self._said or data.z.device.type != "cpu" or not data.edge_index.size(1):
            return
        pair, length = _pairs(data)
        known = self.table.reshape(-1).index_select(0, pair)
        worst = int((length / known).argmin())
        if length[worst] >= _MARGIN * known[worst]:
            return
        self._said = True
        names = "–".join(chemical_symbols[z] for z in divmod(int(pair[worst]), _NUMBER))
        limit = (
            "no such atoms are closer than" if known[worst] == self.cutoff else "the shortest is"
        )
        note(
            f"{where}: {names} of {float(length[worst]):.2f} Å; in training {limit} "
            f"{float(known[worst]):.2f} Å: what is predicted there is a guess; train on such "
            "structures"
        )

    def as_json(self) -> dict:
        """Elements by symbols, as in "C-H", each pair once."""
        first, second = (self.table.triu() * (self.table < self.cutoff)).nonzero(as_tuple=True)
        pairs = {
            f"{chemical_symbols[a]}-{chemical_symbols[b]}": round(float(self.table[a, b]), 4)
            for a, b in zip(first.tolist(), second.tolist(), strict=True)
        }
        return {"cutoff": self.cutoff, "pairs": pairs}

    @classmethod
    def from_json(cls, content: Mapping) -> "ShortestDistances":
        """The inverse of `as_json`.

        Raises:
            InputError: for anything else.
        """
        try:
            cutoff = float(content["cutoff"])
            table = torch.full((_NUMBER, _NUMBER), cutoff, dtype=torch.float64)
            for names, length in content["pairs"].items():
                a, b = (atomic_numbers[symbol] for symbol in names.split("-"))
                table[a, b] = table[b, a] = float(length)
        except (TypeError, KeyError, ValueError, AttributeError):
            raise InputError(
                "trained_on does not list shortest distances of elements; get a fresh copy"
            ) from None
        return cls(table, cutoff)


def _pairs(data: Data) -> tuple[Tensor, Float[Tensor, "E"]]:
    """Both elements of each edge as one number, and its length in float64."""
    source, target = data.z.index_select(0, data.edge_index.reshape(-1).long()).chunk(2)
    exact = copy.copy(data)  # whose positions may be those that somebody differentiates
    exact.pos = data.pos.detach().double()
    return target * _NUMBER + source, distances(edge_vectors(exact))
