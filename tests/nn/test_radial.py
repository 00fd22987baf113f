import math

import numpy as np
import pytest
import torch

from schnetgeo.errors import InputError
from schnetgeo.nn import (
    BesselBasis,
    CosineCutoff,
    GaussianBasis,
    PolynomialCutoff,
    SchNet,
    StepCutoff,
)

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


def test_bessel_functions_are_orthonormal():
    """∫ e_n e_m r² dr = δ_nm from 0 to the cutoff, which is what their factor is for."""
    r = torch.linspace(0, 4.0, 4001, dtype=torch.float64)
    e = BesselBasis(6, 4.0)(r)
    gram = torch.trapezoid(e[:, :, None] * e[:, None] * (r**2)[:, None, None], r, dim=0)
    torch.testing.assert_close(gram, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-5)
    assert BesselBasis(6, 4.0)(r[-1:]).abs().max() < 1e-14


@pytest.mark.parametrize("r", [0.0, 1e-12, 1e-3, 0.05, 0.6, 3.9])
def test_bessel_functions_are_smooth_at_the_origin(r):
    """Against the power series of sin(k r) / r and its first two derivatives, k = n π / r_c."""
    point = torch.tensor([r], dtype=torch.float64, requires_grad=True)
    value = BesselBasis(3, 4.0)(point)[0, 2]
    (first,) = torch.autograd.grad(value, point, create_graph=True)
    (second,) = torch.autograd.grad(first, point, create_graph=True)
    k, scale = 3 * math.pi / 4.0, math.sqrt(2 / 4.0)
    expected = [0.0, 0.0, 0.0]
    for m in range(30):  # (−1)^m k^(2m+1) r^(2m) / (2m + 1)!
        factor = scale * (-1) ** m * k ** (2 * m + 1) / math.factorial(2 * m + 1)
        expected[0] += factor * r ** (2 * m)
        if m:
            expected[1] += factor * 2 * m * r ** (2 * m - 1)
            expected[2] += factor * 2 * m * (2 * m - 1) * r ** (2 * m - 2)
    for found, want in zip((value, first, second), expected, strict=True):
        assert float(found) == pytest.approx(want, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("exponent", [2, 6, 9])
def test_polynomial_cutoff_ends_flat(exponent):
    f = PolynomialCutoff(5.0, exponent)
    ends = torch.tensor([1e-9, 5.0 - 1e-9], dtype=torch.float64, requires_grad=True)
    value = f(ends)
    (first,) = torch.autograd.grad(value.sum(), ends, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), ends)
    torch.testing.assert_close(value.detach(), torch.tensor([1.0, 0.0]).double(), atol=1e-7, rtol=0)
    assert first.abs().max() < 1e-7
    assert abs(float(second[1])) < 1e-6
    assert f(torch.tensor([5.0, 6.0])).tolist() == [0, 0]
    middle = 1 - 28 * 0.5**6 + 48 * 0.5**7 - 21 * 0.5**8  # p = 6, equation 8 of the paper
    assert float(PolynomialCutoff(5.0)(torch.tensor(2.5))) == pytest.approx(middle)


def test_basis_and_cutoff_refuse_arguments():
    with pytest.raises(InputError, match="num_basis must be at least 1, got 0"):
        BesselBasis(0, 5.0)
    with pytest.raises(InputError, match="exponent must be at least 2"):
        PolynomialCutoff(5.0, 1)
