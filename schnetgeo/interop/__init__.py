"""Models of other packages, in and out."""

from schnetgeo.interop.pyg import from_pyg, to_pyg
from schnetgeo.interop.read import read
from schnetgeo.interop.schnetpack import from_schnetpack
from schnetgeo.interop.tensorflow import from_tensorflow
from schnetgeo.interop.to_schnetpack import to_schnetpack
from schnetgeo.interop.torchmdnet import from_torchmdnet

__all__ = [
    "from_pyg",
    "from_schnetpack",
    "from_tensorflow",
    "from_torchmdnet",
    "read",
    "to_pyg",
    "to_schnetpack",
]
