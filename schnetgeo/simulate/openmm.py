"""Potentials in OpenMM, as a `PythonForce`."""

from typing import TYPE_CHECKING

import numpy as np

from schnetgeo.errors import InputError
from schnetgeo.simulate.step import Runnable, Step
from schnetgeo.units import conversion

if TYPE_CHECKING:
    from openmm import PythonForce, State
    from openmm.app import Topology

_PER_NM = 10.0  # Å in a nm


def force(potential: Runnable, topology: "Topology") -> "PythonForce":
    """A force that gives the energy of all particles of a topology.

        system = openmm.System()
        for atom in topology.atoms():
            system.addParticle(atom.element.mass)
        system.addForce(schnetgeo.simulate.openmm.force("model.safetensors", topology))

    It is periodic where the topology has box vectors, which barostats may change.

    Args:
        potential: model file, `Potential`, tabulated one or `Calculator`, as `step.as_calculator`.
        topology: with the element of each particle.

    Raises:
        InputError: if openmm is not installed or older than 8.4, for particles without an element,
            and for elements that the potential does not know.
    """
    try:
        from openmm import PythonForce
    except ImportError as error:
        raise InputError(
            f"openmm 8.4 or later is needed ({error}); pip install 'openmm>=8.4'"
        ) from None
    elements = [atom.element for atom in topology.atoms()]
    if None in elements:
        raise InputError(
            f"topology: particle {elements.index(None)} has no element, so no potential of atoms; "
            "take it out of the topology"
        )
    periodic = topology.getPeriodicBoxVectors() is not None
    numbers = [element.atomic_number for element in elements]
    result = PythonForce(Computation(Step(potential, numbers, [periodic] * 3)))
    result.setUsesPeriodicBoundaryConditions(periodic)
    return result


class Computation:
    """What OpenMM calls in each step; can be pickled, so that systems can be serialized.

    Args:
        step: of the particles.
    """

    def __init__(self, step: Step):
        self._step = step
        self._energy_unit = conversion("eV", "kJ/mol")

    def __call__(self, state: "State") -> tuple[float, np.ndarray]:
        """Energy in kJ/mol and forces (N, 3) in kJ/mol/nm."""
        cell = np.zeros((3, 3))
        if self._step.atoms.pbc.any():
            cell = state.getPeriodicBoxVectors(asNumpy=True)._value * _PER_NM
        result = self._step(state.getPositions(asNumpy=True)._value * _PER_NM, cell)
        return self._energy_unit * result.energy, self._energy_unit * _PER_NM * result.forces
