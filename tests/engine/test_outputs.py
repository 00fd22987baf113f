"""Models that return several values for each atom, of any shape."""

from functools import partial
from typing import NamedTuple

import pytest
import torch
from ase.build import molecule
from torch import Tensor
from torch_geometric.data import Batch

from schnetgeo import Potential, from_ase
from schnetgeo.data import with_edges
from schnetgeo.engine.engine import Engine, Reading
from schnetgeo.engine.lowering.lower import Lowered, Refusal, lower
from schnetgeo.nn import (
    ChargeReadout,
    Heads,
    LocalDipoleReadout,
    PaiNN,
    PolarizabilityReadout,
    SpatialExtentReadout,
    SumReadout,
)  # fmt: skip
from schnetgeo.nn.readout import Readout
from tests.engine import reference
from tests.engine.models import F
from tests.engine.on_knots import assert_equals_autograd
from tests.nn.weights import randomize

SIZES = dict(channels=F, num_layers=2, num_basis=6, cutoff=4.0, max_z=10)


class Features(NamedTuple):
    """Of atoms."""

    scalars: Tensor
    vectors: Tensor


class FeatureReadout(Readout):
    """The features as they are, of any shape."""

    per, shape = "atom", (3, F)
    needs_vectors = True

    def __init__(self, *sizes):
        super().__init__()

    def forward(self, x, v=None):
        return (v.transpose(1, 2), Features(x, v)), x[:, :1]

    def reduce(self, values, data):
        return values[0][1].vectors


class UnlikeSum(SumReadout):
    """A result which is the sum of no atomic values."""

    def reduce(self, values, data):
        return super().reduce(values, data).square()


HEADS = {
    "energy": partial(
        Heads, energy=SumReadout, dipole=LocalDipoleReadout, polarizability=PolarizabilityReadout,
        charges=ChargeReadout, extent=SpatialExtentReadout, features=FeatureReadout,
    ),
    "no energy": partial(Heads, dipole=LocalDipoleReadout, extra=SumReadout),
    "charges": ChargeReadout,
    "square": UnlikeSum,
}  # fmt: skip


def model_of(name: str) -> PaiNN:
    torch.manual_seed(0)
    return PaiNN(**SIZES, readout=HEADS[name]).double()


def flat(values) -> list[Tensor]:
    return [values] if isinstance(values, Tensor) else sum(map(flat, values), [])


def batch():
    molecules = [from_ase(molecule(name)) for name in ("CH3CH2OH", "H2O")]
    return Batch.from_data_list([with_edges(data, SIZES["cutoff"]) for data in molecules])


@pytest.fixture(params=HEADS)
def model(request):
    return model_of(request.param)


def test_values_are_those_of_the_program(model):
    lowered, data = lower(model), batch()
    assert isinstance(lowered, Lowered), lowered.reason
    edges = model.edge_features(data)
    want = model.atomic_values(data.z, edges)
    values = reference.lowered_values(lowered, data.z, edges)
    torch.testing.assert_close(flat(values), flat(want), rtol=1e-12, atol=1e-13)


def evaluate(reading: Reading, data):
    return reading.evaluate(data, torch.tensor(2.0).double(), reading.has_energy, False)


@pytest.mark.parametrize("compiled", [True, False])
def test_values_and_their_gradients_are_those_of_the_model(model, compiled):
    data, reading = batch(), Engine(spacing=0.002).read(model)
    if not compiled:
        reading.numba_refusal = "for the test"
    result = evaluate(reading, data)
    want = model.atomic_values(data.z, model.edge_features(data))
    values = reading.values(result)
    assert type(values) is type(want)
    results, expected = flat(values), flat(want)
    torch.testing.assert_close(results, expected, rtol=1e-9, atol=1e-9)
    weights = [torch.randn_like(x) for x in results]
    found, right = (
        torch.autograd.grad(
            sum((w * x).sum() for w, x in zip(weights, values, strict=True)),
            reading.parameters, retain_graph=True,
        )
        for values in (results, expected)
    )  # fmt: skip
    torch.testing.assert_close(found, right, rtol=1e-8, atol=1e-8)


def test_a_sum_of_atomic_values_has_forces():
    data = batch()
    reading = Engine().read(model_of("energy"))
    result = evaluate(reading, data)
    values = reading.values(result)
    energy = values[0].new_zeros(2).index_add(0, data.batch, values[0])
    torch.testing.assert_close(result.results[0], energy)
    assert result.forces.any()
    for name in ("no energy", "charges", "square"):
        assert evaluate(Engine().read(model_of(name)), data).forces is None


def test_an_energy_that_is_no_sum_is_for_autograd():
    reading = Engine().read(model_of("square"), with_energy=True)
    assert "the energy of UnlikeSum is no sum or mean of atomic values" in reading.reason
    potential, exact = (Potential(model_of("square"), filters=f) for f in ("spline", "exact"))
    torch.testing.assert_close(potential(batch()).forces, exact(batch()).forces)


def test_a_potential_with_heads_is_the_same_as_by_autograd():
    readout = partial(
        Heads, energy=SumReadout, dipole=LocalDipoleReadout, polarizability=PolarizabilityReadout
    )
    model = randomize(PaiNN(**SIZES, readout=readout).double(), seed=1)
    assert_equals_autograd(Potential(model).train(), batch())


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        (lambda x: (x, 1.0), "returns a float"),
        (lambda x: {"charges": x}, "returns a dict"),
        (lambda x: (), "returns a tuple"),
        (lambda x: x.sum(), "sums over atoms"),
        (lambda x: x.transpose(0, 1), "returns an atom's features of shape"),
    ],
)
def test_other_values_are_refused(returned, reason):
    class Other(PaiNN):
        def atomic_values(self, z, edges):
            return returned(self.embedding(z))

    refusal = lower(Other(**SIZES))
    assert isinstance(refusal, Refusal)
    assert reason in refusal.reason
