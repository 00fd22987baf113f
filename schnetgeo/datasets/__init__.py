"""Data sets: where they come from, how they are read, what to cite."""

from schnetgeo.datasets.atoms_file import AtomsFile
from schnetgeo.datasets.load_data import DataLoaders, load_data, open_dataset
from schnetgeo.datasets.pyg import from_pyg
from schnetgeo.datasets.schnetpack import from_schnetpack
from schnetgeo.datasets.sets import *  # noqa: F403
from schnetgeo.datasets.sets import __all__ as _sets

__all__ = [
    *_sets,
    "AtomsFile",
    "DataLoaders",
    "from_pyg",
    "from_schnetpack",
    "load_data",
    "open_dataset",
]
