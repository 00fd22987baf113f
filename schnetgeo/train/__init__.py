"""Training: losses, errors, and the loop, on Lightning."""

from schnetgeo.train.configuration import TrainingConfig
from schnetgeo.train.fit import Diverged, FitResult, fit, new_potential, refit_references
from schnetgeo.train.loss import Loss
from schnetgeo.train.metrics import Metrics, evaluate, predict

__all__ = [
    "Diverged",
    "FitResult",
    "Loss",
    "Metrics",
    "PotentialModule",
    "TrainingConfig",
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
