"""Data sets: where they come from, how they are read, what to cite."""

from schnetgeo.datasets.atoms_file import AtomsFile
from schnetgeo.datasets.demo import Demo
from schnetgeo.datasets.iso17 import ISO17
from schnetgeo.datasets.load_data import DataLoaders, load_data, open_dataset
from schnetgeo.datasets.md17 import MD17
from schnetgeo.datasets.pyg import from_pyg
from schnetgeo.datasets.qm9 import QM9
from schnetgeo.datasets.rmd17 import RevisedMD17
from schnetgeo.datasets.schnetpack import from_schnetpack

__all__ = [
    "ISO17",
    "MD17",
    "QM9",
    "AtomsFile",
    "DataLoaders",
    "Demo",
    "RevisedMD17",
    "from_pyg",
    "from_schnetpack",
    "load_data",
    "open_dataset",
]
