"""The base of all published data sets: a new one is a class in a file of its own."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from torch_geometric.data import Dataset

from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets.source import Source


class ShellOption(NamedTuple):
    """An option of the shell, without --, and the argument of the class that it sets."""

    name: str
    argument: str
    help: str = ""
    several: bool = False  # takes one or more values


class FieldMeaning(NamedTuple):
    """Unit of an attribute, and what it is."""

    unit: str
    meaning: str


class PublishedDataset(StructureDataset):
    """Structures as their authors published them, wherever these are stored.

    A subclass is final. It reads its files, and says in class attributes all that the shell and
    `load_data` need to know of it; `datasets/sets.py` lists it.

    Args:
        stored: the structures: in memory, or a store on disk.
        name: of the data set and its part, for people.

    Attributes:
        source: where its files come from; `None` where it ships with the package.
        options: of the shell, beside `--root` for those with a source.
        takes_several_files: `file=` may be a list.
        all_parts: arguments that open everything, where those by default open a part.
        splits: numbers that its argument `split` takes, of published splits.
        meanings: of its attributes.
        pools: structures that its authors meant for training, validation and tests.
        max_train: on how many structures its authors ask to train at most.
    """

    source: ClassVar[Source | None] = None
    options: ClassVar[tuple[ShellOption, ...]] = ()
    takes_several_files: ClassVar[bool] = False
    all_parts: ClassVar[Mapping[str, Sequence[str]]] = {}
    splits: ClassVar[tuple[int, ...]] = ()
    meanings: ClassVar[Mapping[str, FieldMeaning]] = {}

    def __init__(self, stored: StructureDataset, name: str):
        Dataset.__init__(self)
        self.name, self.labels = name, stored.labels
        self._take(copy.copy(stored))
        self.stored.name = name

    @classmethod
    def arguments(cls) -> dict[str, str]:
        """Arguments of the class by the options of the shell that set them."""
        arguments = {option.name: option.argument for option in cls.options}
        return arguments | ({"root": "root"} if cls.source else {})

    @classmethod
    def published(cls) -> list[dict]:
        """What is known without the data, a row for each molecule, fold, property or file."""
        files = cls.source.files.values() if cls.source else ()
        return [{"file": file.name, "bytes": file.size} for file in files]

    @classmethod
    def default_split(cls, files: Sequence[str]) -> str:
        """The word for the split of one of `splits`, read from these files or downloaded."""
        return str(cls.splits[0])

    def parts(self) -> list[dict]:
        """A row for each published part of these structures, if there are several."""
        return []

    @property
    def in_memory(self) -> bool:
        return self.stored.in_memory

    @property
    def path(self) -> Path | None:
        """The store on disk, if there is one."""
        return None if self.in_memory else self.stored.path

    def check(self) -> None:
        """Raise `InputError` unless every byte on disk is as it was written."""
        if not self.in_memory:
            self.stored.check()

    def with_edges(self, cutoff: float) -> "PublishedDataset":
        """These structures with their edges built once; large ones beside the store."""
        stored, out = copy.copy(self.stored), copy.copy(self)
        stored._indices, stored.transform = self._indices, self.transform
        out._take(stored.with_edges(cutoff))
        return out

    def _take(self, stored: StructureDataset) -> None:
        self.stored, self._indices = stored, stored._indices
        self.packed, self._edge_ptr = stored.packed, stored._edge_ptr
