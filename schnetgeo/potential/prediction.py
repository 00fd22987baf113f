"""What a potential says of structures."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.errors import InputError
from schnetgeo.potential.uncertainty import Uncertainty
from schnetgeo.targets import ENERGY, FORCES, STRESS

_CORE = ENERGY.name, FORCES.name, STRESS.name
_REMEDIES = {
    FORCES.name: "ask for them with forces=True",
    STRESS.name: "ask for it with stress=True",
    "atomic_energies": "ask for them with energies=True",
}


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What a potential says of B structures with N atoms in all.

        energy, forces, stress = potential(batch, stress=True)

    `prediction["dipole"]` is the prediction of the target of that name; "energy", "forces" and
    "stress" are names too.
    """

    energy: Float[Tensor, "B"] | None = None  # eV, float64, references included
    forces: Float[Tensor, "N 3"] | None = None  # eV/Å
    stress: Float[Tensor, "B 3 3"] | None = None  # eV/Å³, NaN for a structure without a cell
    further: Mapping[str, Tensor] = field(default_factory=dict)  # by the name of the target
    uncertainty: Uncertainty | None = None  # of energies and forces, where it was asked for

    @classmethod
    def of(cls, values: Mapping[str, Tensor]) -> "Prediction":
        """From predictions by the names of their targets."""
        core = {name: values[name] for name in _CORE if name in values}
        return cls(**core, further={k: v for k, v in values.items() if k not in _CORE})

    def __getitem__(self, name: str) -> Tensor:
        """The prediction of a target.

        Raises:
            InputError: for one that the model does not predict, or that was not asked for.
        """
        values = dict(self.items())
        if name in values:
            return values[name]
        known = ", ".join(values) or "nothing"
        has_energy = self.energy is not None
        remedy = _REMEDIES.get(name) if has_energy else None
        raise InputError(
            f"the prediction has {known}, but no {name!r:.60}; "
            + (remedy or "take a model that was trained on it")
        )

    def __iter__(self) -> Iterator[Tensor | None]:
        """Energy, forces and stress."""
        yield from (self.energy, self.forces, self.stress)

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Names of targets and their predictions, energy, forces and stress first."""
        for name in _CORE:
            value = getattr(self, name)
            if value is not None:
                yield name, value
        yield from self.further.items()

    def __repr__(self) -> str:
        shapes = [
            f"{name}={tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
            for name, value in self.items()
        ]
        return f"Prediction({', '.join(shapes)})"


def cell_volumes(data: Data) -> Float[Tensor, "B 1 1"]:
    """|det cell| of each structure, Å³, NaN where it is 0, or an `InputError` where all are."""
    if data.get("cell") is not None:
        volumes = torch.linalg.det(data.cell.detach()).abs().reshape(-1, 1, 1)
        if bool((volumes > 0).any()):
            return torch.where(volumes > 0, volumes, torch.nan)
    raise InputError("stress=True needs a cell with a volume, but no structure has one; set `cell`")


def per_volume(
    virial: Float[Tensor, "B 3 3"], volumes: Float[Tensor, "B 1 1"]
) -> Float[Tensor, "B 3 3"]:
    """Stress, NaN with a gradient of 0, where there is no volume."""
    return torch.where(volumes.isnan(), torch.nan, virial / volumes.nan_to_num(1.0))
