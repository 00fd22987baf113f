"""A potential as ASE calculator, for dynamics and relaxation."""

import os
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Literal

import numpy as np
import torch
from ase import Atoms
from ase.calculators import calculator
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from schnetgeo._version import __version__
from schnetgeo.data.atoms import geometry
from schnetgeo.data.structure import Structure
from schnetgeo.potential import Prediction
from schnetgeo.potential.atomic_energies import ATOMIC_ENERGIES
from schnetgeo.simulate.model_source import AnyPotential, ModelSource
from schnetgeo.simulate.verlet_list import VerletList, check_skin

_OF_ENERGY = ("energy", "free_energy", "forces", "stress")
_FURTHER = ("dipole", "charges")  # that a model may have a head for


class Calculator(calculator.Calculator):
    """Energy and free energy (eV), forces (eV/Å), stress (eV/Å³) where the cell has a volume.

        atoms.calc = Calculator("model.safetensors")

    Energies of the atoms (eV), dipole (e·Å) and charges (e) as well, where the model has them.
    `atoms.info["charge"]` and `["spin"]` are read where the model is one of several states.
    Several models are an ensemble; its results, and those of a model that was calibrated, have
    standard deviations `energy_std` (eV) and, of an ensemble or with `uncertainty="forces"`,
    `forces_std` (eV/Å).

    The neighbor list reaches `skin` beyond the cutoff and is kept while `VerletList` can prove that
    no edge is missing.

    Args:
        potential: model file, a `Potential`, which is set to evaluation mode, or a tabulated one,
            fastest for small systems; several files or potentials, or an `Ensemble`.
        device: where to compute; `None` is the CPU for a file, and where a `Potential` is.
        skin: Å; 0 builds the list anew for every step.
        classes: your own classes that the file names, as for `schnetgeo.load`.
        tolerance: tabulate the filters to this relative error; `None` leaves the potential as is.
        uncertainty: "energy", the default for a model that was calibrated, or "forces" too.

    Raises:
        InputError: for a file that `load` refuses, a model that predicts no energy, a skin that is
            no distance, an ensemble of different targets, a tolerance for what cannot be
            tabulated, and an uncertainty that the model does not have.
    """

    name = "schnetgeo"
    implemented_properties = [*_OF_ENERGY, *_FURTHER]
    ignored_changes = {"initial_charges", "initial_magmoms"}  # of which no model here knows

    def __init__(
        self,
        potential: str | os.PathLike | AnyPotential | Sequence,
        device: str | torch.device | None = None,
        skin: float = 0.3,
        classes: Iterable[type] = (),
        tolerance: float | None = None,
        uncertainty: Literal["energy", "forces"] | None = None,
    ):
        super().__init__()
        source = ModelSource.of(potential, device, classes, tolerance)
        self._arguments = source.uncertainty(uncertainty)
        self.potential, self._device, self._cutoff = source.potential, source.device, source.cutoff
        self._trained_on = source.trained_on
        self.implemented_properties = [
            *_OF_ENERGY,
            *(n for n in _FURTHER if n in source.targets),
            *(["energies"] if source.has_atomic_energies else []),
            *source.uncertain(self._arguments),
        ]
        self.parameters = calculator.Parameters(  # databases and trajectories keep them
            source=source.name,
            model=source.model_name,
            cutoff=source.cutoff,
            skin=check_skin(skin),
            version=__version__,
        )
        if tolerance is not None:
            self.parameters.tolerance = tolerance
        self._list = None if self._cutoff is None else VerletList(self._cutoff, skin)
        self._asked: set[str] = set()

    @property
    def skin(self) -> float:
        """How far the neighbor list reaches beyond the cutoff, Å."""
        return self.parameters.skin

    @skin.setter
    def skin(self, value: float) -> None:
        self.parameters.skin = check_skin(value)
        self._list = None if self._cutoff is None else VerletList(self._cutoff, value)

    def __repr__(self) -> str:
        of = self.parameters
        what = f"{of.model}, cutoff={of.cutoff}, skin={self.skin}, device={str(self._device)!r}"
        return f"Calculator({what}, source={of.source!r})"

    def get_property(self, name, atoms=None, allow_calculation=True):
        """As ASE's; what the model has no head for is refused with what it has."""
        if name not in self.implemented_properties:
            raise calculator.PropertyNotImplementedError(
                f"{name}: this model gives {', '.join(self.implemented_properties)}; take one that "
                f"was trained on the {name}"
            )
        return super().get_property(name, atoms, allow_calculation)

    def check_state(self, atoms, tol=1e-15):
        """As ASE's; another total charge or spin is a change too."""
        changes = super().check_state(atoms, tol)
        same = self.atoms is None or _states(self.atoms) == _states(atoms)
        return changes if same else [*changes, "info"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=None):
        """Called by ASE; stress and energies of atoms are computed once they were asked for."""
        super().calculate(atoms, properties, system_changes or [])
        self._asked |= {*properties} & {"stress", "energies"}
        stress = "stress" in self._asked and self.atoms.cell.rank == 3
        prediction = self.potential(
            self._structure(self.atoms),
            stress=stress,
            energies="energies" in self._asked,
            **self._arguments,
        )
        self.results = self._results(prediction)

    def _results(self, prediction: Prediction) -> dict[str, float | np.ndarray]:
        values = dict(prediction.items())
        energy = values["energy"].item()
        results = {"energy": energy, "free_energy": energy, "forces": _array(values["forces"])}
        for name in _FURTHER:
            if name in self.implemented_properties:
                value = _array(values[name])
                results[name] = value[0] if name == "dipole" else value
        if "stress" in values:
            results["stress"] = full_3x3_to_voigt_6_stress(_array(values["stress"])[0])
        if ATOMIC_ENERGIES in values:
            results["energies"] = _array(values[ATOMIC_ENERGIES])
        spread = prediction.uncertainty
        if spread is not None:
            results["energy_std"] = spread.energy.item()
            if spread.forces is not None:
                results["forces_std"] = _array(spread.forces)
        return results

    def _structure(self, atoms: Atoms) -> Structure:
        """The atoms on the device, with edges from the list where that still holds."""
        data = geometry(atoms).to(self._device)
        if self._list is not None:
            data, is_new = self._list.edges(atoms, data)
            if is_new:
                for covered in self._trained_on:
                    covered.check_distances(data)
        return data.update({k: data.pos.new_tensor([v]) for k, v in _states(atoms).items()})


def _array(values: Tensor) -> np.ndarray:
    return values.cpu().double().numpy()


def _states(atoms: Atoms) -> dict[str, float]:
    """Total charge in e, and spin, where they are stated as numbers."""
    stated = {name: atoms.info.get(name) for name in ("charge", "spin")}
    return {name: float(value) for name, value in stated.items() if isinstance(value, Real)}
