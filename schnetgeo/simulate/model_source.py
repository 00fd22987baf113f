"""A model from a file, several files or Python, ready for what runs with it."""

import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from schnetgeo.data.coverage import Coverage
from schnetgeo.errors import InputError
from schnetgeo.potential import Ensemble, Potential, load
from schnetgeo.potential.arguments import readouts_of
from schnetgeo.potential.last_layer import calibrated
from schnetgeo.potential.tabulated import TabulatedPotential

AnyPotential = Potential | TabulatedPotential | Ensemble


class ModelSource(NamedTuple):
    """A potential and where it came from."""

    potential: AnyPotential
    members: tuple[Potential | TabulatedPotential, ...]  # of an ensemble, or the one
    name: str
    device: torch.device

    @classmethod
    def of(
        cls,
        potential: str | os.PathLike | AnyPotential | Sequence,
        device: str | torch.device | None = None,
        classes: Iterable[type] = (),
        tolerance: float | None = None,
    ) -> "ModelSource":
        """Load, move and tabulate; arguments and errors as for `Calculator`."""
        several = isinstance(potential, Ensemble | list | tuple)
        listed = potential.potentials if isinstance(potential, Ensemble) else potential
        names, members = [], []
        for one in listed if several else [potential]:
            is_file = isinstance(one, str | os.PathLike)
            names.append(os.fspath(one) if is_file else "Python object")
            members.append(_member(load(one, tuple(classes)) if is_file else one, device))
        for one, name in zip(members, names, strict=True):
            _check_energy(one, name)
        if len(members) > 1 or isinstance(potential, Ensemble):
            if tolerance is not None:
                raise InputError(
                    "tolerance: an ensemble is not tabulated, for its spread needs the models "
                    "themselves; leave it out, or take one model"
                )
            result = Ensemble(members)
        else:
            result = members[0]
        if tolerance is not None:
            result = result.tabulate(tolerance)
            members = [result]
        place = members[0].scale.device if isinstance(members[0], Potential) else "cpu"
        return cls(result, tuple(members), ", ".join(names), torch.device(place))

    @property
    def cutoff(self) -> float | None:
        """The longest of the members, Å; `None` for models without edges."""
        cutoffs = [one.model.cutoff for one in self.members if one.model.cutoff is not None]
        return max(cutoffs, default=None)

    @property
    def targets(self) -> list[str]:
        """Names of what is predicted."""
        return [target.name for target in self.members[0].targets]

    @property
    def trained_on(self) -> tuple[Coverage, ...]:
        """What each member was trained on, where that is known."""
        return tuple(one.trained_on for one in self.members if one.trained_on is not None)

    @property
    def model_name(self) -> str:
        """The class of the model, in a word or two."""
        first = self.members[0]
        if isinstance(first, TabulatedPotential):
            return f"{first.model_name}, tabulated"
        name = type(first.model).__name__
        return f"{len(self.members)} of {name}" if len(self.members) > 1 else name

    @property
    def has_atomic_energies(self) -> bool:
        """Whether the energy is a sum or mean of atomic values."""
        readouts = [(readouts_of(one.model) or [None])[0] for one in self.members]
        return all(readout is not None and readout.linear is not None for readout in readouts)

    def uncertainty(self, asked: str | None) -> dict[str, Any]:
        """The argument `uncertainty` of the potential, or an `InputError` where it has none."""
        first = self.members[0]
        if len(self.members) > 1:
            return {}
        layer = first.last_layer if isinstance(first, Potential) else None
        if asked is not None:
            calibrated(layer, asked)
        elif layer is not None:
            asked = "energy"
        return {} if asked is None else {"uncertainty": asked}

    def uncertain(self, arguments: dict[str, Any]) -> list[str]:
        """Names of the standard deviations among the results."""
        if len(self.members) > 1:
            return ["energy_std", "forces_std"]
        names = {"energy": ["energy_std"], "forces": ["energy_std", "forces_std"]}
        return names.get(arguments.get("uncertainty"), [])


def tabulated_or_same(potential: Potential, tolerance: float) -> Potential | TabulatedPotential:
    """With tables of the filters to a relative error, where the engine reads the model."""
    try:
        return potential.tabulate(tolerance)
    except InputError:  # autograd runs the model, or no table holds the tolerance
        return potential


def _member(potential: object, device: str | torch.device | None) -> Potential | TabulatedPotential:
    """In evaluation mode, where it is to run."""
    if isinstance(potential, TabulatedPotential):
        if device is not None and torch.device(device).type != "cpu":
            raise InputError(
                f"a tabulated potential runs on the CPU, got device={str(device)!r}; leave device "
                "out, or pass the potential itself"
            )
        return potential
    if not isinstance(potential, Potential):
        remedy = "; pass Potential(model)" if isinstance(potential, nn.Module) else ""
        kind = "the model " if isinstance(potential, nn.Module) else ""
        raise InputError(
            f"potential must be a model file, a Potential or a tabulated one, got {kind}"
            f"{type(potential).__name__}{remedy}"
        )
    return potential.to(torch.device(device or potential.scale.device)).eval()


def _check_energy(potential: Potential | TabulatedPotential, source: str) -> None:
    if "energy" not in [target.name for target in potential.targets]:
        raise InputError(
            f"{source}: the model predicts {', '.join(map(str, potential.targets))}, but a "
            "calculator needs energies; call the potential itself"
        )
