"""Training: losses, errors, and the loop, on Lightning."""

from schnetgeo.train.configuration import Training
from schnetgeo.train.fit import Fit, fit, new_potential, refit_references
from schnetgeo.train.loss import Loss
from schnetgeo.train.metrics import Errors, evaluate, predict
from schnetgeo.train.module import PotentialData, PotentialModule

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
