"""A model with splines for its filters, in plain differentiable torch."""

import copy

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from schnetgeo.data import with_edges
from schnetgeo.engine.lowering.lower import lower
from schnetgeo.engine.lowering.outputs import select
from schnetgeo.geometry import distances, edge_vectors
from schnetgeo.ops import bspline
from schnetgeo.potential import Potential
from tests.engine.potentials import assert_same_training, training_step
from tests.engine.reference import values_on_knots


class OnKnots(nn.Module):
    """What the program of a potential's model says, on the same knots; derivatives of any order.

    The engine cannot read it, so that autograd makes forces, stress, and gradients of both.
    """

    def __init__(self, potential: Potential):
        super().__init__()
        self.model, self.knots = potential.model, potential.reading().knots
        self.lowered = lower(potential.model)
        self.readout, self.cutoff, self.max_z = (
            potential.model.readout, potential.model.cutoff, potential.model.max_z
        )  # fmt: skip

    def forward(self, data: Data) -> Tensor | tuple[Tensor, ...]:
        data, knots = with_edges(data, self.cutoff), self.knots
        program, outputs, parameters, _ = self.lowered
        vectors = edge_vectors(data)
        r = distances(vectors)
        numbers = knots.range(r)
        u = r / knots.spacing - (numbers.start + 1)
        inside = r < self.cutoff
        interval = torch.where(inside, u, 0).detach().floor().long()
        weights = bspline.weights(u - interval) * self.model.cutoff_fn(r).unsqueeze(1)
        weights = torch.where(inside.unsqueeze(1), weights, 0)
        unit = vectors / torch.where(r > 0, r, 1).unsqueeze(1)
        values = values_on_knots(
            program, parameters, knots.samples(numbers, r), data.z,
            data.edge_index, (interval, weights), unit,
        )  # fmt: skip
        return self.readout.reduce(select(outputs, values), data)


def on_knots(potential: Potential) -> Potential:
    """A potential with the same parameters, whose layers run one by one on the same splines."""
    other = copy.deepcopy(potential)
    other.model = OnKnots(potential)
    return other


def assert_equals_autograd(potential: Potential, data: Data, **what) -> None:
    """Results, and the gradient of a loss on all of them for every parameter."""
    found, other = training_step(potential, data, **what), on_knots(potential)
    results, gradients = training_step(other, data, **what)
    assert other.reading() is None
    gradients = {name.replace("model.model.", "model."): g for name, g in gradients.items()}
    assert found[1].keys() == gradients.keys()
    assert_same_training(found, (results, gradients), 1e-12)
