"""Training: losses, errors, and the loop, on Lightning."""

from schnetgeo.train.configuration import Training
from schnetgeo.train.fit import Diverged, Fit, fit, new_potential, refit_references
from schnetgeo.train.loss import Loss
from schnetgeo.train.metrics import Errors, evaluate, predict

__all__ = [
    "Diverged",
    "Errors",
    "Fit",
    "Loss",
    "PotentialModule",
    "Training",
    "evaluate",
    "fit",
    "new_potential",
    "predict",
    "refit_references",
]


def __getattr__(name: str):
    """Import what derives from Lightning's class when it is first used."""
    if name != "PotentialModule":
        raise AttributeError(f"module 'schnetgeo.train' has no attribute {name!r}")
    from schnetgeo.train.module import PotentialModule

    return PotentialModule
