"""SchNet-type models for molecules and crystals on PyTorch Geometric."""

import importlib

from schnetgeo._version import __version__
from schnetgeo.data import from_ase, neighbor_list, to_ase
from schnetgeo.data.further_labels import Label
from schnetgeo.errors import InputError
from schnetgeo.nn import Baseline, BesselBasis, CFConv, PaiNN, RadialConv, SchNet
from schnetgeo.potential import Ensemble, Potential, Prediction, load
from schnetgeo.targets import Target

_LATER = {
    "Calculator": "schnetgeo.simulate",
    "animate": "schnetgeo.viz",
    "datasets": "schnetgeo",
    "engine": "schnetgeo",
    "explain": "schnetgeo",
    "export": "schnetgeo",
    "interop": "schnetgeo",
    "load_data": "schnetgeo.datasets",
    "show": "schnetgeo.viz",
    "simulate": "schnetgeo",
    "testing": "schnetgeo",
    "train": "schnetgeo",
    "viz": "schnetgeo",
}

__all__ = [
    "Baseline",
    "BesselBasis",
    "CFConv",
    "Ensemble",
    "InputError",
    "Label",
    "PaiNN",
    "Potential",
    "Prediction",
    "RadialConv",
    "SchNet",
    "Target",
    "__version__",
    "from_ase",
    "load",
    "neighbor_list",
    "to_ase",
    *_LATER,
]


def __getattr__(name: str):
    """Import training, pictures and data sets when they are first used."""
    if name not in _LATER:
        raise AttributeError(f"module 'schnetgeo' has no attribute {name!r}")
    home = _LATER[name]
    if home == "schnetgeo":
        return importlib.import_module(f"schnetgeo.{name}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
