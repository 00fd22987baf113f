"""A potential as ASE calculator, for dynamics and relaxation."""

import copy
import os
from collections.abc import Iterable
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase import Atoms
from ase.calculators import calculator
from ase.stress import full_3x3_to_voigt_6_stress
from torch import nn

from schnetgeo._version import __version__
from schnetgeo.data.atoms import geometry
from schnetgeo.data.graph import with_edges
from schnetgeo.data.structure import Structure
from schnetgeo.errors import InputError
from schnetgeo.potential import Ensemble, Potential, load

if TYPE_CHECKING:
    from schnetgeo.potential.tabulated import TabulatedPotential

_OF_ENERGY = ("energy", "free_energy", "forces", "stress")
_FURTHER = ("dipole", "charges")  # that a model may have a head for


class Calculator(calculator.Calculator):
    """Energy and free energy (eV), forces (eV/Å) and, where the cell has a volume, stress (eV/Å³).

        atoms.calc = Calculator("model.safetensors")

    Dipole (e·Å) and charges (e) as well, where the model has heads for them. `atoms.info["charge"]`
    and `["spin"]` are read where the model is one of several states.

    The neighbor list reaches `skin` beyond the cutoff and is kept until an atom has moved by more
    than skin / 2, or cell, pbc or elements have changed. This is exact, because an edge as long as
    the cutoff or longer has the weight 0.

    Args:
        potential: model file, a `Potential`, which is set to evaluation mode, or a tabulated one,
            fastest for small systems: `Calculator(sg.load(file).tabulate())`.
        device: where to compute; `None` is the CPU for a file, and where a `Potential` is.
        skin: Å; 0 builds the list anew for every step.
        classes: your own classes that the file names, as for `schnetgeo.load`.

    Raises:
        InputError: for a file that `load` refuses, a model that predicts no energy, or a skin that
            is no distance.
    """

    name = "schnetgeo"
    implemented_properties = [*_OF_ENERGY, *_FURTHER]
    ignored_changes = {"initial_charges", "initial_magmoms"}  # of which no model here knows

    def __init__(
        self,
        potential: "str | os.PathLike | Potential | TabulatedPotential",
        device: str | torch.device | None = None,
        skin: float = 0.3,
        classes: Iterable[type] = (),
    ):
        super().__init__()
        source = "Python object"
        if isinstance(potential, str | os.PathLike):
            source, potential = os.fspath(potential), load(potential, classes)
        if isinstance(potential, Ensemble):
            raise InputError(
                "potential is an ensemble, but a calculator runs one model; give one of its members"
            )
        if isinstance(potential, nn.Module) and not isinstance(potential, Potential):
            raise InputError(
                f"potential must be a model file, a Potential or a tabulated one, got the model "
                f"{type(potential).__name__}; pass Potential(model)"
            )
        names = [target.name for target in potential.targets]
        if "energy" not in names:
            raise InputError(
                f"{source}: the model predicts {', '.join(map(str, potential.targets))}, but a "
                "calculator needs energies; call the potential itself"
            )
        self.implemented_properties = [*_OF_ENERGY, *(n for n in _FURTHER if n in names)]
        self._device = torch.device("cpu")
        if isinstance(potential, Potential):
            self._device = torch.device(device or potential.scale.device)
            potential = potential.to(self._device).eval()
        elif device is not None and torch.device(device).type != "cpu":
            raise InputError(
                f"a tabulated potential runs on the CPU, got device={str(device)!r}; leave device "
                "out, or pass the potential itself"
            )
        self.potential = potential
        self.parameters = calculator.Parameters(  # databases and trajectories keep them
            source=source,
            model=_model_name(potential),
            cutoff=potential.model.cutoff,
            skin=_checked_skin(skin),
            version=__version__,
        )
        self._listed: tuple[Atoms, Structure] | None = None
        self._with_stress = False

    @property
    def skin(self) -> float:
        """How far the neighbor list reaches beyond the cutoff, Å."""
        return self.parameters.skin

    @skin.setter
    def skin(self, value: float) -> None:
        self.parameters.skin, self._listed = _checked_skin(value), None

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
        """Called by ASE; stress is computed from the first time on that it is asked for."""
        super().calculate(atoms, properties, system_changes or [])
        self._with_stress |= "stress" in properties
        stress = self._with_stress and self.atoms.cell.rank == 3
        prediction = self.potential(self._structure(self.atoms), stress=stress)
        energy = prediction.energy.item()
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": prediction.forces.cpu().double().numpy(),
        }
        for name in self.implemented_properties[len(_OF_ENERGY) :]:
            value = prediction[name].cpu().double().numpy()
            self.results[name] = value[0] if name == "dipole" else value
        if stress:
            full = prediction.stress[0].cpu().double().numpy()
            self.results["stress"] = full_3x3_to_voigt_6_stress(full)

    def _structure(self, atoms: Atoms) -> Structure:
        """The atoms on the device, with edges from the list where that still holds."""
        data, cutoff = geometry(atoms).to(self._device), self.potential.model.cutoff
        if cutoff is not None:
            if self._listed is None or not self._holds(atoms, self._listed[0]):
                self._listed = atoms.copy(), with_edges(data, cutoff + self.skin)
                if self.potential.trained_on is not None:
                    self.potential.trained_on.check_distances(self._listed[1])
            data = copy.copy(self._listed[1]).update({"pos": data.pos})
        return data.update({k: data.pos.new_tensor([v]) for k, v in _states(atoms).items()})

    def _holds(self, atoms: Atoms, before: Atoms) -> bool:
        same = (
            np.array_equal(atoms.numbers, before.numbers)
            and np.array_equal(atoms.cell.array, before.cell.array)
            and np.array_equal(atoms.pbc, before.pbc)
        )
        if not same:
            return False
        displacement = np.linalg.norm(atoms.positions - before.positions, axis=1).max()
        return bool(
            displacement <= self.skin / 2
        )  # not where it is NaN, which the next list refuses


def _states(atoms: Atoms) -> dict[str, float]:
    """Total charge in e, and spin, where they are stated as numbers."""
    stated = {name: atoms.info.get(name) for name in ("charge", "spin")}
    return {name: float(value) for name, value in stated.items() if isinstance(value, Real)}


def _checked_skin(skin: float) -> float:
    if not 0 <= skin < np.inf:
        raise InputError(f"skin must be a distance in Å, 0 or more, got {skin}")
    return skin


def _model_name(potential: "Potential | TabulatedPotential") -> str:
    if isinstance(potential, Potential):
        return type(potential.model).__name__
    return f"{potential.model_name}, tabulated"
