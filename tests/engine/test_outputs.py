"""Models that return several values for each atom, of any shape."""

from typing import NamedTuple

import pytest
import torch
from ase.build import molecule
from torch import Tensor, nn
from torch_geometric.data import Batch

from schnetgeo import from_ase
from schnetgeo.data import with_edges
from schnetgeo.engine.engine import Engine, Reading
from schnetgeo.engine.lowering.lower import Lowered, Refusal, lower
from schnetgeo.geometry import distances, edge_vectors
from schnetgeo.nn.painn import PaiNN
from schnetgeo.nn.readout import SumReadout
from schnetgeo.potential.edge_forces import unit_vectors
from tests.engine import reference
from tests.engine.models import F

SIZES = dict(channels=F, num_layers=2, num_basis=6, cutoff=4.0, max_z=10)


class Tensors(NamedTuple):
    """What a polarizability is made of."""

    isotropic: Tensor
    vector: Tensor


class Gated(nn.Module):
    """Scalars (N,) and vectors (N, 3), as in PaiNN's equations 9 and 10."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(F, 2, bias=False)
        self.net = nn.Sequential(nn.Linear(F + 1, 5), nn.SiLU(), nn.Linear(5, 2))

    def forward(self, x, v):
        first, second = self.mix(v).chunk(2, dim=-1)
        norm = (first.square().sum(1) + 1e-8).sqrt()
        s, gate = self.net(torch.cat([x, norm], dim=-1)).chunk(2, dim=-1)
        return Tensors(s.squeeze(-1), (gate.unsqueeze(1) * second).squeeze(-1))


class Readout(SumReadout):
    """Energy, charges and local dipoles, a polarizability, and features as they are."""

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.dipole, self.polarizability = Gated(), Gated()

    def forward(self, x, v):
        energy = super().forward(x)
        return energy, self.dipole(x, v), (self.polarizability(x, v), x, v, v.transpose(1, 2))


class Charges(Gated):
    """No energy, and therefore no weights of atoms."""

    def __init__(self, *sizes):
        super().__init__()


class Model(PaiNN):
    """PaiNN whose readout sees the vectors."""

    def __init__(self, readout):
        super().__init__(**SIZES)
        self.readout = readout(F, 4, nn.SiLU)
        self.double()

    def atomic_values(self, z, edges):
        x, v = self.embedding(z), None
        for interaction in self.interactions:
            x, v = interaction(x, v, edges)
        return self.readout(x, v)


def flat(values) -> list[Tensor]:
    return [values] if isinstance(values, Tensor) else sum(map(flat, values), [])


def batch():
    molecules = [from_ase(molecule(name)) for name in ("CH3CH2OH", "H2O")]
    return Batch.from_data_list([with_edges(data, SIZES["cutoff"]) for data in molecules])


@pytest.fixture(params=[Readout, Charges])
def model(request):
    torch.manual_seed(0)
    return Model(request.param)


def test_values_are_those_of_the_program(model):
    lowered, data = lower(model), batch()
    assert isinstance(lowered, Lowered), lowered.reason
    edges = model.edge_features(data)
    want = model.atomic_values(data.z, edges)
    values = reference.lowered_values(lowered, data.z, edges)
    torch.testing.assert_close(flat(values), flat(want), rtol=1e-12, atol=1e-13)


def evaluate(reading: Reading, data, gradients=True):
    vectors = edge_vectors(data)
    distance = distances(vectors)
    return reading.evaluate(data, distance, unit_vectors(vectors, distance), gradients)


@pytest.mark.parametrize("compiled", [True, False])
def test_values_and_their_gradients_are_those_of_the_model(model, compiled):
    data, reading = batch(), Engine(spacing=0.005).read(model)
    if not compiled:
        reading.numba_refusal = "for the test"
    result = evaluate(reading, data)
    want = model.atomic_values(data.z, model.edge_features(data))
    assert type(result.values) is type(want)
    results, expected = flat(result.values), flat(want)
    torch.testing.assert_close(results, expected, rtol=1e-5, atol=1e-6)
    weights = [torch.randn_like(x) for x in results]
    found, right = (
        torch.autograd.grad(
            sum((w * x).sum() for w, x in zip(weights, values, strict=True)),
            reading.parameters, retain_graph=True,
        )
        for values in (results, expected)
    )  # fmt: skip
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-4)


def test_the_first_value_is_the_energy_where_the_readout_sums_it():
    data = batch()
    energy = evaluate(Engine().read(Model(Readout)), data)
    torch.testing.assert_close(
        energy.energy, energy.values[0].new_zeros(2).index_add(0, data.batch, energy.values[0])
    )
    assert energy.radial.any()
    charges = evaluate(Engine().read(Model(Charges)), data)
    assert charges.energy is None
    assert not charges.radial.any()


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
    class Other(Model):
        def atomic_values(self, z, edges):
            return returned(self.embedding(z))

    refusal = lower(Other(Charges))
    assert isinstance(refusal, Refusal)
    assert reason in refusal.reason
