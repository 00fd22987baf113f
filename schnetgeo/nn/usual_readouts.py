"""The usual readout of each target."""

from collections.abc import Callable
from functools import partial

from schnetgeo.errors import InputError
from schnetgeo.nn.dipole import (
    ChargeReadout,
    DipoleNormReadout,
    DipoleReadout,
    LocalDipoleReadout,
)
from schnetgeo.nn.heads import Heads
from schnetgeo.nn.polarizability import PolarizabilityReadout
from schnetgeo.nn.readout import AtomReadout, MeanReadout, Readout, SumReadout
from schnetgeo.nn.spatial_extent import SpatialExtentReadout
from schnetgeo.targets import DERIVATIVES, Target


def readout_for(
    *targets: Target, has_vectors: bool = False
) -> Callable[[int, int, type, bool], Readout]:
    """The class of the readout of these targets, which models take as `readout`.

        targets = known_target("mu"), known_target("gap")
        model = PaiNN(readout=readout_for(*targets, has_vectors=PaiNN.has_vectors))
        potential = Potential(model, targets=targets)

    Dipoles, their norm mu, charges, polarizabilities and the extent r2 have readouts of their own;
    other numbers are sums over atoms where they are extensive, else means.

    Args:
        *targets: one, or several, for which it is `Heads`.
        has_vectors: whether the model has vector features, see `AtomisticModel.has_vectors`.

    Raises:
        InputError: for a vector or tensor without a usual readout, or one that needs vectors.
    """
    if len(targets) == 1:
        return _usual(targets[0], has_vectors)
    return partial(Heads, **{target.name: _usual(target, has_vectors) for target in targets})


def _usual(target: Target, has_vectors: bool) -> Callable[[int, int, type, bool], Readout]:
    dipole = LocalDipoleReadout if has_vectors else DipoleReadout
    named = {
        "charges": ChargeReadout, "dipole": dipole, "polarizability": PolarizabilityReadout,
        "r2": SpatialExtentReadout, "mu": partial(DipoleNormReadout, dipole=dipole),
    }  # fmt: skip
    readout = named.get(target.name)
    if readout is PolarizabilityReadout and not has_vectors:
        raise InputError(
            f"{target} needs a model with vector features; take one that has, such as PaiNN"
        )
    if readout is not None:
        return readout
    if target in DERIVATIVES:
        raise InputError(
            f"{target.name} is a derivative of the energy, which needs no readout; leave it out "
            "of the targets, and name it in the losses"
        )
    if target.shape != ():
        raise InputError(
            f"{target} has shape {target.shape}, for which there is no usual readout; give the "
            "model a readout of your own, derived from schnetgeo.nn.Readout"
        )
    if target.per == "atom":
        return AtomReadout
    return SumReadout if target.extensive else MeanReadout
