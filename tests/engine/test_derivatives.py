"""Forces and ∂E/∂strain from gradients along edges: compiled as in plain torch, and the adjoint."""

import numpy as np
import pytest
import torch
from ase.build import bulk

from schnetgeo.data import with_edges
from schnetgeo.engine.edge_forces import EdgeGradient, edge_forces, edge_virial
from schnetgeo.engine.numba.derivatives import Derivatives, add_derivatives, edge_bars
from schnetgeo.engine.numba.executor import Batch
from schnetgeo.engine.numba.structures import measured_structures
from schnetgeo.geometry import edge_vectors
from tests.engine.potentials import batch_of

SCALE = 1.7


def data():
    boxed = bulk("NaCl", "rocksalt", a=5.64)
    molecule = bulk("NaCl", "rocksalt", a=5.64) * (2, 1, 1)
    molecule.pbc = False
    return with_edges(batch_of(boxed, molecule), 4.0)


def batch_of_structures(structures):
    measured = measured_structures(structures, 100, np.dtype("float64"))
    none = np.empty((0, 4))
    return Batch.of(measured, np.ones(len(structures.z)), np.empty(0, np.int64), none, none)


def random_like(seed, *shapes):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def derivatives_of(batch, radial, angular):
    out = Derivatives.zeros(batch.blocks, np.dtype("float64"), True, True)
    number = len(batch.blocks.ptr) - 1
    add_derivatives(batch, SCALE, radial.numpy(), angular.numpy(), out, 0, number)
    return map(torch.from_numpy, out)


@pytest.mark.parametrize("directed", [True, False])
def test_they_are_those_of_torch_and_have_an_adjoint(directed):
    structures = data()
    batch, count = batch_of_structures(structures), structures.num_edges
    first = torch.arange(count) < structures.edge_reverse
    radial, angular = random_like(1, (count,), (count if directed else 0, 3))
    radial, angular = radial * first, angular * first.unsqueeze(1) if directed else angular
    forces, virial = derivatives_of(batch, radial, angular)

    vectors = edge_vectors(structures)
    distance, unit = torch.from_numpy(batch.distance), torch.from_numpy(batch.edges.unit)
    torch.testing.assert_close(distance.unsqueeze(1) * unit, vectors, rtol=0, atol=1e-12)
    edges = EdgeGradient(radial, angular if directed else None, vectors, distance, unit)
    torch.testing.assert_close(forces, SCALE * edge_forces(edges, structures))
    torch.testing.assert_close(virial, SCALE * edge_virial(edges, structures))

    bars = random_like(2, forces.shape, virial.shape)
    along, across = np.empty(count), np.empty(tuple(angular.shape))
    edge_bars(batch, SCALE, *(bar.numpy() for bar in bars), along, across)
    assert not along[~first.numpy()].any()
    found = (torch.from_numpy(along) * radial).sum() + (torch.from_numpy(across) * angular).sum()
    torch.testing.assert_close(found, (bars[0] * forces).sum() + (bars[1] * virial).sum())
