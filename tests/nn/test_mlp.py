import math

import numpy as np
import pytest
import torch
from torch import nn

from schnetgeo.nn import ShiftedSoftplus, num_parameters
from schnetgeo.nn.mlp import dense, zero_

GRID = np.concatenate([-np.logspace(4, -8, 200), [0.0], np.logspace(-8, 4, 200), [19.9, 20.1, 40]])


def derivatives(dtype):
    """The activation with its first and second derivative on the grid."""
    x = torch.tensor(GRID, dtype=dtype, requires_grad=True)
    y = ShiftedSoftplus()(x)
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    return [t.detach().double().numpy() for t in (y, first, second)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-7), (torch.float64, 5e-16)])
def test_ssp_is_exact(dtype, tolerance):
    """Up to |x| = 1e4, where eˣ is far beyond the largest number."""
    x = torch.tensor(GRID, dtype=dtype).double().numpy()
    small = np.exp(-np.abs(x))
    logistic = np.where(x > 0, 1, small) / (1 + small)
    y, first, second = derivatives(dtype)
    expected = np.maximum(x, 0) + np.log1p(small) - math.log(2)
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(first, logistic, rtol=0, atol=tolerance)
    np.testing.assert_allclose(second, small / (1 + small) ** 2, rtol=0, atol=tolerance)


def test_ssp_is_zero_at_zero():
    assert ShiftedSoftplus()(torch.zeros(1, dtype=torch.float64)).abs() < 1e-16


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_ssp_is_finite_in_half_precision(dtype):
    x = torch.tensor([-6e4, -50.0, 0.0, 15.0, 39.0, 50.0, 6e4], dtype=dtype)
    torch.testing.assert_close(
        ShiftedSoftplus()(x), ShiftedSoftplus()(x.double()).to(dtype), rtol=1e-2, atol=1e-3
    )


def test_dense_starts_with_glorot_uniform_weights_and_no_bias():
    torch.manual_seed(0)
    layer = dense(300, 64)
    bound = math.sqrt(6 / (300 + 64))
    assert layer.weight.abs().max() <= bound
    assert layer.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert not layer.bias.any()
    assert dense(3, 4, bias=False).bias is None


def test_zero_keeps_the_layer_trainable():
    layer = zero_(nn.Linear(3, 1))
    assert not layer.weight.any()
    assert not layer.bias.any()
    assert layer.weight.requires_grad


def test_num_parameters_counts_what_is_trained():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1), nn.BatchNorm1d(1, affine=False))
    assert num_parameters(model) == 21
    model[0].weight.requires_grad_(False)
    assert num_parameters(model) == 9
