"""Checks of a model: energies, forces and stress."""

from collections.abc import Iterable

from torch import nn

from schnetgeo.data import Structure
from schnetgeo.errors import InputError
from schnetgeo.potential import Potential
from schnetgeo.potential.arguments import readouts_of
from schnetgeo.testing.charges import ChargeChecks, is_charge
from schnetgeo.testing.checks import Report, seeded
from schnetgeo.testing.edges import EdgeChecks
from schnetgeo.testing.physics import PhysicsChecks


def check_potential(
    potential_or_model: Potential | nn.Module,
    structures: Iterable[Structure] | None = None,
    seed: int = 0,
) -> Report:
    """Check what a model predicts, in evaluation mode and without the references.

    Energies, forces, stress and every other target: vectors and tensors turn with the structure,
    the dipole of a neutral molecule does not depend on the origin, charges add up.

    Parameters that are zero, as a last layer before training, get random values in the copy.

    Args:
        potential_or_model: a `Potential`, or a model with attributes `cutoff` and `max_z`.
        structures: single structures; `None` is some distorted molecules, an atom and a crystal
            whose cell is smaller than most cutoffs.
        seed: of distortions and directions.

    Raises:
        CheckFailed: at the first statement that is violated.
        InputError: for an object that is no model, and for structures that are not valid.
    """
    potential = potential_or_model
    if not isinstance(potential, Potential):
        missing = [name for name in ("cutoff", "max_z") if not hasattr(potential, name)]
        if missing or not isinstance(potential, nn.Module):
            raise InputError(
                "check_potential takes a Potential or a module with attributes cutoff (None if "
                f"edgeless) and max_z, got {potential!r:.60}; set {' and '.join(missing) or 'both'}"
            )
        potential = Potential(potential)
    names = [type(part).__name__ for part in (potential, potential.model)]
    subject = names[1] if type(potential) is Potential else " of ".join(names)
    has_charges = any(map(is_charge, readouts_of(potential.model) or []))
    checks = _AllChecks if has_charges else _PotentialChecks
    with seeded(seed):
        return checks(potential, structures, seed).run(subject)


class _PotentialChecks(PhysicsChecks, EdgeChecks):
    """Those of every model; those of the last base come first."""


class _AllChecks(ChargeChecks, _PotentialChecks):
    """Those of a model of charges too."""
