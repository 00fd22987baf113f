"""Training: losses, errors, and the loop, on Lightning."""

from schnetgeo.train.calibrate import calibrate
from schnetgeo.train.configuration import TrainingConfig
from schnetgeo.train.evaluation import Evaluation, evaluate
from schnetgeo.train.fit import Diverged, FitResult, fit, new_potential, refit_references
from schnetgeo.train.loss import FunctionLoss, Loss, huber, mae, mse
from schnetgeo.train.metrics import Metrics
from schnetgeo.train.objective import Objective
from schnetgeo.train.predict import predict
from schnetgeo.train.tasks import task_losses

__all__ = [
    "Diverged",
    "Evaluation",
    "FitResult",
    "FunctionLoss",
    "Loss",
    "Metrics",
    "Objective",
    "PotentialModule",
    "TrainingConfig",
    "calibrate",
    "evaluate",
    "fit",
    "huber",
    "mae",
    "mse",
    "new_potential",
    "predict",
    "refit_references",
    "task_losses",
]


def __getattr__(name: str):
    """Import what derives from Lightning's class when it is first used."""
    if name != "PotentialModule":
        raise AttributeError(f"module 'schnetgeo.train' has no attribute {name!r}")
    from schnetgeo.train.module import PotentialModule

    return PotentialModule
