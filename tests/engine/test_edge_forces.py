"""From positions to places on the knots, and from slopes to forces: compiled as in plain torch."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schnetgeo.engine.edge_forces import EdgeForces
from schnetgeo.errors import InputError
from schnetgeo.ops import bspline, numba_backend, torch_backend

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
CASES = settings(max_examples=20, deadline=None)


def edges_of(seed, atoms, count, dtype):
    """Positions, sources, targets and offsets; some atoms coincide, some edges are loops."""
    random = torch.Generator().manual_seed(seed)
    pos = torch.randint(0, 3, (atoms, 3), generator=random).to(dtype)
    source, target = torch.randint(atoms, (2, count), generator=random)
    return pos, source, target, torch.randn(count, 3, generator=random).to(dtype)


def measured(module, pos, source, target, offset):
    count = source.numel()
    vectors, distance = pos.new_full((count, 3), torch.nan), pos.new_full((count,), torch.nan)
    module.edge_lengths(pos, source, target, offset, vectors, distance)
    return vectors, distance


@DTYPES
@pytest.mark.parametrize("periodic", [True, False])
@CASES
@given(seed=st.integers(0, 999), atoms=st.integers(1, 9), count=st.integers(0, 40))
def test_lengths_and_forces(dtype, periodic, seed, atoms, count):
    pos, source, target, offset = edges_of(seed, atoms, count, dtype)
    offset = offset if periodic else None
    found = measured(numba_backend, pos, source, target, offset)
    expected = measured(torch_backend, pos, source, target, offset)
    torch.testing.assert_close(found, expected)
    slope = torch.randn(count, generator=torch.Generator().manual_seed(seed)).to(dtype)
    y = torch.randn(atoms, 3, generator=torch.Generator().manual_seed(seed)).to(dtype)
    outs = []
    for module in (numba_backend, torch_backend):
        forces, along = torch.ones_like(pos), torch.full_like(slope, torch.nan)
        module.add_forces(slope, *expected, source, target, forces)
        module.add_forces_vjp(y, *expected, source, target, along)
        outs.append((forces, along))
    torch.testing.assert_close(*outs)
    forces, along = outs[0]
    torch.testing.assert_close(
        ((forces - 1) * y).sum(), (along * slope).sum(), rtol=1e-3, atol=1e-4
    )


@DTYPES
def test_forces_are_minus_the_gradient(dtype):
    random = torch.Generator().manual_seed(1)
    pos = torch.randn(6, 3, generator=random).to(dtype).requires_grad_()
    source, target = torch.tensor([0, 1, 2, 5, 3, 3]), torch.tensor([1, 0, 4, 2, 5, 4])
    vectors, distance = measured(numba_backend, pos.detach(), source, target, None)
    lengths = (pos[source] - pos[target]).norm(dim=1)
    (gradient,) = torch.autograd.grad(lengths.pow(3).sum(), pos)
    slope = 3 * distance.square()
    edge_index = torch.stack([source, target])
    forces = EdgeForces.apply(slope, vectors, distance, edge_index, len(pos))
    torch.testing.assert_close(forces, -gradient)


@pytest.mark.parametrize("module", [numba_backend, torch_backend])
@pytest.mark.parametrize("wrong", [-1, 5])
def test_edges_to_atoms_that_are_not_there(module, wrong):
    pos, index = torch.zeros(5, 3), torch.tensor([0, 1, wrong])
    with pytest.raises((InputError, IndexError)):
        measured(module, pos, index, torch.zeros(3, dtype=torch.long), None)
    with pytest.raises((InputError, IndexError)):
        measured(module, pos, torch.zeros(3, dtype=torch.long), index, None)


@DTYPES
def test_places_and_the_envelope(dtype):
    """Also at, beyond and far beyond the cutoff, at 0, and where a distance is not a number."""
    grid = bspline.Grid(3, 60, 0.1, 5.0)
    tail = torch.tensor([0.0, 5.0, 5.1, 1e9, math.nan])
    distance = torch.cat([torch.linspace(0.31, 4.999, 400), tail]).to(dtype)
    outs = []
    for module in (numba_backend, torch_backend):
        f, df = torch.empty_like(distance), torch.empty_like(distance)
        module.cosine_cutoff(distance, 5.0, f, df)
        interval = torch.full((len(distance),), -9)
        weights, slopes = distance.new_full((2, len(distance), 4), torch.nan)
        module.knot_weights(distance, f, df, grid, interval, weights, slopes)
        assert ((interval >= 0) & (interval <= grid.count - 4)).all()
        knots = torch.arange(grid.count).to(dtype)
        values = (weights * knots[interval.unsqueeze(1) + torch.arange(4)]).sum(1)
        outs.append((f, df, values, slopes.sum(1)))
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    for found, expected in zip(*outs, strict=True):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    f, df, _, _ = outs[0]
    assert f[-4:-1].tolist() == [0, 0, 0]
    assert df[-4:-1].tolist() == [0, 0, 0]
    assert f[-1].isnan()
    inside = slice(0, 400)
    slope = torch.gradient(f[inside].double(), spacing=(distance[inside].double(),))[0]
    torch.testing.assert_close(df[1:399].double(), slope[1:-1], rtol=0, atol=3e-4)


@pytest.mark.parametrize("numbers", [[], [3], [1, 1, 2], [1, 2, 1], [2, 1]])
def test_order(numbers):
    tensor = torch.tensor(numbers, dtype=torch.long)
    assert (
        numba_backend.is_sorted(tensor)
        == torch_backend.is_sorted(tensor)
        == (numbers == sorted(numbers))
    )
