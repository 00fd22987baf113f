"""Training: losses, errors, and the loop, on Lightning."""

from schnetgeo.train.configuration import Training
from schnetgeo.train.fit import Fit, fit, new_potential, refit_references
from schnetgeo.train.loss import Loss
from schnetgeo.train.metrics import Errors, evaluate, predict

__all__ = [
    "Errors",
    "Fit",
    "Loss",
    "PotentialData",
    "PotentialModule",
    "Training",
    "evaluate",
    "fit",
    "new_potential",
    "predict",
    "refit_references",
]


def __getattr__(name: str):
    """Import what derives from Lightning's classes when it is first used."""
    if name not in ("PotentialData", "PotentialModule"):
        raise AttributeError(f"module 'schnetgeo.train' has no attribute {name!r}")
    from schnetgeo.train import module

    return getattr(module, name)
