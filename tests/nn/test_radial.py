import math

import numpy as np
import pytest
import torch

from schnetgeo.errors import InputError
from schnetgeo.nn import CosineCutoff, GaussianBasis, SchNet, StepCutoff

# preset: number of centers, last center in Å, γ in Å⁻²
PUBLISHED = {
    "paper2017": (300, 30.0, 10.0),
    "jcp2018": (200, 20.0, 10.0),
    "schnetpack": (20, 5.0, 7.22),
    "pyg": (50, 10.0, 12.005),
    "torchmd_gn": (50, 5.0, 48.02),
}


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("preset", PUBLISHED)
def test_gaussians_are_as_published(preset):
    number, last, gamma = PUBLISHED[preset]
    distance = double(0.0, 0.37, 1.09, 4.999, last)
    centers = np.arange(number) * last / (number - 1)
    expected = np.exp(-gamma * (distance.numpy()[:, None] - centers) ** 2)
    basis = SchNet.preset(preset).basis(distance)
    np.testing.assert_allclose(basis.numpy(), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gaussian_is_one_at_its_center(dtype):
    centers = torch.linspace(0, 5, 11, dtype=dtype)
    basis = GaussianBasis(11, 5.0)(centers)
    assert basis.dtype == dtype
    torch.testing.assert_close(basis.diag(), torch.ones(11, dtype=dtype))
    torch.testing.assert_close(basis[0, 1], torch.tensor(math.exp(-0.5), dtype=dtype))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 5.0), "num_basis must be at least 2 .* got 1"),
        ((10, 0.0), "cutoff must be a positive distance in Å, got 0.0"),
        ((10, -1.0), "cutoff must be .* got -1.0"),
        ((10, math.inf), "cutoff must be .* got inf"),
        ((10, math.nan), "cutoff must be .* got nan"),
        ((10, 5.0, 0.0), "gamma must be a positive exponent in Å⁻², got 0.0"),
        ((10, 5.0, math.nan), "gamma must be .* got nan"),
    ],
)
def test_gaussians_refuse_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        GaussianBasis(*arguments)


def test_cosine_values():
    distance = double(0.0, 1.25, 2.5, 3.75)
    expected = double(1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5)
    torch.testing.assert_close(CosineCutoff(5.0)(distance), expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cutoff", [5.0, 3.3, 10.0])
def test_cosine_is_zero_at_and_beyond_the_cutoff(cutoff, dtype):
    distance = torch.tensor([1.0, 1.0001, 1.5, 2.0, 3.0, 1e3], dtype=dtype) * cutoff
    distance[0] = cutoff
    distance.requires_grad_()
    envelope = CosineCutoff(cutoff)(distance)
    (slope,) = torch.autograd.grad(envelope.sum(), distance)
    assert (envelope == 0).all()
    assert (slope == 0).all()


def test_cosine_and_its_slope_are_continuous_at_the_cutoff():
    """On the way to r_c they fall like (r_c − r)² and r_c − r, with the constants of the cosine."""
    gap = double(1e-2, 1e-3, 1e-4)
    distance = (5.0 - gap).requires_grad_()
    envelope = CosineCutoff(5.0)(distance)
    (slope,) = torch.autograd.grad(envelope.sum(), distance)
    curvature = (math.pi / 5) ** 2 / 2
    torch.testing.assert_close(envelope.detach(), curvature / 2 * gap**2, rtol=1e-4, atol=0)
    torch.testing.assert_close(slope, -curvature * gap, rtol=1e-4, atol=0)


def test_no_envelope_is_one_below_the_cutoff_only():
    distance = double(0.0, 1.0, 4.999, 5.0, 7.0)
    assert StepCutoff(5.0)(distance).tolist() == [1, 1, 1, 0, 0]


@pytest.mark.parametrize("preset", ["pyg", "schnetpack", "paper2017"])
def test_derivatives_of_basis_and_envelope(preset):
    model = SchNet.preset(preset, num_basis=7, cutoff=5.0)

    def filters(distance):
        return model.cutoff_fn(distance).unsqueeze(-1) * model.basis(distance)

    inside = double(0.0, 1e-7, 1e-3, 0.1, 0.8, 2.5, 4.0, 4.9, 4.999, 5.0 - 1e-5)
    distance = torch.cat([inside, double(5.0 + 1e-5, 5.001, 6.0)]).requires_grad_()
    assert torch.autograd.gradcheck(filters, distance)
    assert torch.autograd.gradgradcheck(filters, distance)
