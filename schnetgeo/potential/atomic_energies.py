"""What each atom counts in the energy of its structure."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.errors import InputError
from schnetgeo.geometry import batch_index, num_structures
from schnetgeo.nn.heads import Heads
from schnetgeo.nn.readout import Readout
from schnetgeo.potential.arguments import readouts_of
from schnetgeo.potential.features import with_parts
from schnetgeo.potential.output import Output
from schnetgeo.targets import Target, known_target

ATOMIC_ENERGIES = known_target("atomic_energies").name


class _AtomicEnergyHeads(Heads):
    """The heads of a model, and w_i y_i of the atoms, whose sum is the first result."""

    def __init__(self, heads: dict[str, Readout]):
        Readout.__init__(self)
        self.heads = nn.ModuleDict(heads)

    def reduce(self, values: tuple, data: Data) -> tuple[Tensor, ...]:
        weights = self.linear.atom_weights(batch_index(data), num_structures(data))
        return *super().reduce(values, data), weights * values[0]


class _AtomicEnergyOutput(nn.Module):
    """scale · w_i y_i + e0[z_i], e0[z_i] / n for an intensive energy."""

    target: Target = known_target(ATOMIC_ENERGIES)

    def __init__(self, energy: Output):
        super().__init__()
        self.energy = energy

    def scaled(self, result: Tensor, data: Data) -> Tensor:
        return self.energy.scale * result

    def forward(self, result: Tensor, data: Data) -> Float[Tensor, "N"]:
        references = self.energy.atomic_references
        device = references.values.device
        per_atom = references.values.index_select(0, data.z.to(device))
        if references.mean:
            batch = batch_index(data).to(device)
            per_atom = per_atom / batch.bincount(minlength=num_structures(data))[batch]
        return result.to(device).double() + per_atom


def with_atomic_energies(potential: nn.Module) -> nn.Module:
    """A potential with the same parts that predicts `atomic_energies` (N,) in eV too.

    E = Σ_i E_i with E_i = scale · w_i y_i + e0[z_i] of the atomic values y_i.

    Raises:
        InputError: where the energy is no sum or mean of atomic values.
    """
    readouts = readouts_of(potential.model) or [None]
    linear = readouts[0].linear if potential.has_energy and readouts[0] is not None else None
    if linear is None:
        raise InputError(
            f"atomic_energies: what {type(potential.model).__name__} predicts is no sum or mean "
            "over atoms of an energy; take a model with SumReadout"
        )
    names = [target.name for target in potential.targets]
    heads = _AtomicEnergyHeads(dict(zip(names, readouts, strict=True)))
    outputs = nn.ModuleList([*potential.outputs, _AtomicEnergyOutput(potential.outputs[0])])
    return with_parts(potential, heads.train(potential.training), outputs)


class AtomicEnergies:
    """Energies of atoms; keeps what was read of a model while that has the same parts."""

    def __init__(self):
        self._twin: tuple | None = None

    @torch.no_grad()
    def __call__(self, potential: nn.Module, data: Data) -> Float[Tensor, "N"]:
        """Energy of each atom, eV, float64; see `with_atomic_energies`."""
        parts = potential.model, potential.filters, potential.spacing
        if self._twin is None or self._twin[:3] != parts:
            self._twin = *parts, with_atomic_energies(potential)
        twin = self._twin[3]
        twin.trained_on = potential.trained_on
        return twin(data, forces=False)[ATOMIC_ENERGIES]
