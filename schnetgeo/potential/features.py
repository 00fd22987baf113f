"""What the last layer of an energy sees, beside all that a potential predicts."""

import copy
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.errors import InputError
from schnetgeo.geometry import batch_index, num_structures
from schnetgeo.nn.heads import Heads
from schnetgeo.nn.readout import AtomReadout, Readout, SumReadout, sum_atoms
from schnetgeo.potential.arguments import readouts_of
from schnetgeo.targets import Target

FEATURES = "last_layer"  # name under which a prediction has them


class FeatureHeads(Heads):
    """The heads of a model, and the features that the last layer of the first one sees.

    Args:
        heads: by the names of their targets.
    """

    def __init__(self, heads: Mapping[str, Readout]):
        Readout.__init__(self)
        self.heads = nn.ModuleDict(heads)

    def forward(self, x: Float[Tensor, "N F"], v: Float[Tensor, "N 3 F"] | None = None) -> tuple:
        first, *others = self.heads.values()
        hidden = first.activation(first.lin1(x))
        return first.lin2(hidden).squeeze(-1), *(head(x, v) for head in others), hidden

    def reduce(self, values: tuple, data: Data) -> tuple[Tensor, ...]:
        """The result of each head, and Σ_i w_i (h_i, 1) of each structure."""
        *values, hidden = values
        batch = batch_index(data), num_structures(data)
        weights = next(iter(self.heads.values())).atom_weights(*batch).unsqueeze(1)
        features = sum_atoms(weights * torch.cat([hidden, torch.ones_like(weights)], 1), *batch)
        return *super().reduce(tuple(values), data), features


class _FeatureOutput(nn.Module):
    """Passes features on as they are."""

    target = Target(FEATURES, "1")

    def forward(self, result: Tensor, data: Data) -> Tensor:
        return result

    scaled = forward


def with_features(potential: nn.Module) -> nn.Module:
    """A potential with the same parts that predicts the features of its last layer too.

    Raises:
        InputError: where the energy is not linear in the last layer of a `SumReadout`.
    """
    check_last_layer(potential)
    readouts = readouts_of(potential.model)
    names = [target.name for target in potential.targets]
    heads = FeatureHeads(dict(zip(names, readouts, strict=True)))
    outputs = nn.ModuleList([*potential.outputs, _FeatureOutput()])
    return with_parts(potential, heads.train(potential.training), outputs)


@torch.no_grad()
def unscaled_force_std(
    potential: nn.Module, data: Data, factor: Float[Tensor, "D D"]
) -> Float[Tensor, "N 3"]:
    """(Σ_k F_k²)^½ with the forces F_k of each column of L as last layer."""
    readout = copy.deepcopy(readouts_of(potential.model)[0])
    twin = with_parts(potential, readout, nn.ModuleList(potential.outputs[:1]))
    total = torch.zeros_like(data.pos, dtype=torch.float64)
    for column in factor[:-1].T:  # without the row of the bias, on which no force depends
        readout.lin2.weight.copy_(column.unsqueeze(0))
        total += twin(data, forces=True).forces.double().square()
    return total.sqrt()


def check_last_layer(potential: nn.Module) -> None:
    """Raise `InputError` unless the energy is a sum of what a linear layer gives for each atom."""
    if not potential.has_energy:
        names = ", ".join(map(str, potential.targets))
        raise InputError(
            f"uncertainty is that of energies, but this model predicts {names}; take a model of "
            "energies"
        )
    readout = (readouts_of(potential.model) or [None])[0]
    forward = AtomReadout.forward
    if not isinstance(readout, SumReadout) or type(readout).forward is not forward:
        raise InputError(
            f"uncertainty needs an energy from SumReadout or MeanReadout, whose last layer is "
            f"linear, but the model has {type(readout).__name__}; take an ensemble of models"
        )


def with_parts(potential: nn.Module, readout: nn.Module, outputs: nn.ModuleList) -> nn.Module:
    """A potential that shares all parts but readout, outputs, and what the engine has read."""
    model, twin = copy.copy(potential.model), copy.copy(potential)
    model._modules = {**model._modules, "readout": readout}
    twin._modules = {**twin._modules, "model": model, "outputs": outputs}
    twin.engine = type(potential.engine)(potential.spacing)
    return twin
