"""Edge vectors, distances and strain."""

import numpy as np
import pytest
import torch
from ase.neighborlist import neighbor_list as ase_neighbor_list
from hypothesis import given, settings
from torch_geometric.data import Batch, Data

from schnetgeo.data import from_ase, with_edges
from schnetgeo.geometry import (
    apply_strain,
    batch_index,
    distances,
    edge_vectors,
    num_structures,
)
from tests.structures import crystals, random_cluster, random_crystal, structure


def crystal(seed=0, num_atoms=5):
    return from_ase(random_crystal(np.random.default_rng(seed), num_atoms, stray=3))


@settings(deadline=None, max_examples=30)
@given(atoms=crystals())
def test_edge_vectors_are_those_of_ase(atoms):
    data = with_edges(from_ase(atoms), 3.7)
    i, j, shift, vectors = ase_neighbor_list("ijSD", atoms, 3.7)
    order = np.lexsort((*shift.T[::-1], j, i))
    np.testing.assert_allclose(edge_vectors(data), vectors[order], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(deadline=None, max_examples=30)
@given(atoms=crystals(stray=1000))
def test_reversed_edges_have_exactly_opposite_vectors(dtype, atoms):
    data = with_edges(from_ase(atoms), 3.7)
    data.pos, data.cell = data.pos.to(dtype), data.cell.to(dtype)
    vectors = edge_vectors(data)
    assert torch.equal(vectors, -vectors[data.edge_reverse])
    assert torch.equal(distances(vectors), distances(vectors)[data.edge_reverse])


def test_molecules_need_no_shift():
    data = with_edges(structure([1, 8], [[0, 0, 0], [0, 0, 0.5]]), 1.0)
    assert "edge_shift" not in data
    assert edge_vectors(data).tolist() == [[0, 0, 0.5], [0, 0, -0.5]]  # from target to source


def test_distances_are_norms():
    vectors = torch.randn(100, 3, dtype=torch.float64)
    assert torch.allclose(distances(vectors), vectors.norm(dim=1), rtol=1e-15)
    vectors = vectors[:5].requires_grad_()
    assert torch.autograd.gradcheck(distances, vectors)
    assert torch.autograd.gradgradcheck(distances, vectors)


def test_distance_of_coinciding_atoms_has_no_gradient():
    vectors = torch.tensor([[0.0, 0, 0], [3, 0, 4]], requires_grad=True)
    length = distances(vectors)
    (gradient,) = torch.autograd.grad(length.sum(), vectors, create_graph=True)
    assert length.tolist() == [0, 5]
    assert torch.equal(gradient, torch.tensor([[0, 0, 0], [0.6, 0, 0.8]]))
    (second,) = torch.autograd.grad(gradient.sum(), vectors)
    assert second.isfinite().all()


def test_distance_of_nan_is_nan():
    assert distances(torch.tensor([[0, torch.nan, 0]])).isnan().all()


def test_only_the_symmetric_part_of_a_strain_acts():
    data = crystal()
    rotation = torch.tensor([[[0, 1, -2], [-1, 0, 3], [2, -3, 0]]], dtype=torch.float64)
    pos, cell = apply_strain(data, rotation)
    assert torch.equal(pos, data.pos)
    assert torch.equal(cell, data.cell)
    strain = torch.zeros(1, 3, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(5, 3, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((apply_strain(data, strain)[0] * weights).sum(), strain)
    assert torch.equal(gradient, gradient.mT)
    assert gradient.abs().max() > 0.1


def test_strain_acts_on_every_edge_of_its_own_structure():
    batch = with_edges(Batch.from_data_list([crystal(0), crystal(1, 3)]), 4.0)
    vectors = edge_vectors(batch)
    strain = torch.randn(2, 3, 3, dtype=torch.float64)
    strain = strain + strain.mT
    batch.pos, batch.cell = apply_strain(batch, strain)
    of_edge = strain[batch.batch[batch.edge_index[1]]]
    expected = vectors + torch.einsum("ea,eab->eb", vectors, of_edge)
    assert torch.allclose(edge_vectors(batch), expected, rtol=0, atol=1e-12)


def test_strain_derivative_is_the_virial():
    data = with_edges(crystal(), 4.0)
    vectors = edge_vectors(data)
    strain = torch.zeros(1, 3, 3, dtype=torch.float64, requires_grad=True)
    data.pos, data.cell = apply_strain(data, strain)
    (derivative,) = torch.autograd.grad(distances(edge_vectors(data)).sum(), strain)
    virial = (vectors.mT / distances(vectors)) @ vectors  # Σ_e r_e ⊗ r_e / |r_e|
    assert torch.allclose(derivative[0], virial, rtol=1e-12)


def test_structures_are_counted_however_they_are_packed():
    rng = np.random.default_rng(0)
    structures = [from_ase(random_cluster(rng, n)) for n in (2, 1, 3)]
    batch = Batch.from_data_list(structures)
    only_batch = Data(z=batch.z, batch=batch.batch)
    only_ptr = Data(z=batch.z, ptr=batch.ptr)
    for data in (batch, only_batch, only_ptr):
        assert batch_index(data).tolist() == [0, 0, 1, 2, 2, 2]
        assert num_structures(data) == 3
    assert batch_index(structures[0]).tolist() == [0, 0]
    assert num_structures(structures[0]) == 1
