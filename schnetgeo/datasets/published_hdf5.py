"""Data sets that are published as HDF5, a group for each molecule."""

import os
from collections.abc import Iterator
from pathlib import Path

from schnetgeo.data.labels import Keys
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets.atoms_file import concatenate
from schnetgeo.datasets.hdf5 import read_hdf5
from schnetgeo.datasets.hdf5_sets import PublishedSet
from schnetgeo.datasets.published import cached
from schnetgeo.datasets.source import File, fetch


def stored_hdf5(
    known: PublishedSet,
    file: File,
    folder: Path,
    path: str | os.PathLike | None = None,
    drop: tuple[str, ...] = (),
) -> StructureDataset:
    """The structures of a published file, in a store, or of one at hand, in memory.

    Args:
        known: names and units of its labels.
        file: is downloaded where `path` is `None`.
        folder: keeps the download and the store.
        path: of a file at hand.
        drop: names to leave out.

    Raises:
        InputError: for a file that cannot be had or read, or is of another data set.
    """
    keys = Keys(known.energy, known.forces)
    if path is not None:
        parts = list(read_hdf5(path, keys, drop=drop))
        return StructureDataset(*concatenate(parts), validated=True)

    def download() -> Iterator[StructureDataset]:
        return read_hdf5(fetch(file, folder), keys, drop=drop)

    return cached(folder, Path(file.name).stem, download)
