"""What a trained potential is for: the ASE calculator, and what runs with it."""

from schnetgeo.simulate.batch_dynamics import BatchFrame, batch_dynamics
from schnetgeo.simulate.batch_relaxation import BatchRelaxation, relax_batch
from schnetgeo.simulate.calculator import Calculator
from schnetgeo.simulate.dynamics import Dynamics, DynamicsConfig, run_dynamics
from schnetgeo.simulate.frequencies import Frequencies, exact_potential, frequencies
from schnetgeo.simulate.path import ReactionPath, neb
from schnetgeo.simulate.predict import predict_batches, predict_to_file
from schnetgeo.simulate.relaxation import Relaxation, relax
from schnetgeo.simulate.scan import Scan, scan

__all__ = [
    "BatchFrame",
    "BatchRelaxation",
    "Calculator",
    "Dynamics",
    "DynamicsConfig",
    "Frequencies",
    "ReactionPath",
    "Relaxation",
    "Scan",
    "batch_dynamics",
    "exact_potential",
    "frequencies",
    "neb",
    "predict_batches",
    "predict_to_file",
    "relax",
    "relax_batch",
    "run_dynamics",
    "scan",
]
