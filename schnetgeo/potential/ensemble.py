"""Several potentials of the same targets, whose spread says how sure they are."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.data.coverage import Coverage
from schnetgeo.errors import InputError
from schnetgeo.potential.potential import Potential
from schnetgeo.potential.prediction import Prediction
from schnetgeo.potential.uncertainty import Uncertainty
from schnetgeo.targets import Target


class Ensemble(nn.Module):
    """The mean of M potentials, with their standard deviation (of M − 1) as uncertainty.

        ensemble = sg.Ensemble([sg.load(file) for file in files])
        ensemble(data).uncertainty.energy

    Potentials that differ in the seed of weights and batches are wrong in different ways where
    nothing like a structure was trained on.

    Args:
        potentials: two or more, for the same targets and elements.

    Raises:
        InputError: if they are fewer, or predict different things.

    Source: Lakshminarayanan, Pritzel, Blundell, NeurIPS 2017, arXiv:1612.01474.
    """

    def __init__(self, potentials: Sequence[Potential]):
        super().__init__()
        _check(potentials)
        self.potentials = nn.ModuleList(potentials)

    @property
    def targets(self) -> tuple[Target, ...]:
        """What is predicted, as by each member."""
        return self.potentials[0].targets

    @property
    def has_energy(self) -> bool:
        """Whether the energy, and with it forces and stress, is predicted."""
        return self.potentials[0].has_energy

    @property
    def scale(self) -> Float[Tensor, ""]:
        """That of the first member, whose type and device are those of all."""
        return self.potentials[0].scale

    @property
    def trained_on(self) -> Coverage | None:
        """What the first member was trained on, the same elements as the others."""
        return self.potentials[0].trained_on

    def forward(
        self,
        data: Data,
        *,
        forces: bool | None = None,
        stress: bool = False,
        energies: bool = False,
    ) -> Prediction:
        """Means of all predictions; arguments as for `Potential.forward`."""
        options = {"forces": forces, "stress": stress, "energies": energies}
        members = [dict(p(data, **options).items()) for p in self.potentials]
        stacked = {name: torch.stack([member[name] for member in members]) for name in members[0]}
        spread = None
        if "energy" in stacked:
            force = stacked.get("forces")
            spread = Uncertainty(
                points=_deviations(stacked["energy"]).T,
                forces=None if force is None else _deviations(force).norm(dim=0),
            )
        mean = Prediction.of({name: values.mean(0) for name, values in stacked.items()})
        return replace(mean, uncertainty=spread)


def _deviations(values: torch.Tensor) -> torch.Tensor:
    """(y_m − mean) / √(M − 1), so that the norm over members is their standard deviation."""
    return (values - values.mean(0)) / math.sqrt(len(values) - 1)


def _check(potentials: Sequence[Potential]) -> None:
    """Raise `InputError` unless these make an ensemble."""
    if len(potentials) < 2:
        raise InputError(
            f"an ensemble needs two models or more, got {len(potentials)}; give further files, "
            "trained with other seeds"
        )
    first, *others = potentials
    for number, other in enumerate(others, 2):
        for what, one, two in (
            ("targets", *(", ".join(map(str, p.targets)) for p in (first, other))),
            ("elements", *(_elements(p) for p in (first, other))),
        ):
            if one != two:
                raise InputError(
                    f"model {number} of the ensemble has other {what} than the first: {two}, "
                    f"not {one}; give models that were trained alike"
                )


def _elements(potential: Potential) -> str:
    covered = potential.trained_on
    return "any" if covered is None else " ".join(covered.elements)
