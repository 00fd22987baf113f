import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from schnetgeo.ops import bspline

DOUBLE = torch.float64
PLACES = torch.linspace(0, 1, 101, dtype=DOUBLE)


def spline(function, spacing, r, order=0):
    """The spline of a function from 0 to 2, or its derivative, at places within."""
    knots = torch.arange(-2, round(2 / spacing) + 4, dtype=DOUBLE) * spacing
    table = bspline.coefficients(function(knots).unsqueeze(1))
    u = r / spacing
    interval = u.long()
    found = bspline.values(table, interval, bspline.weights(u - interval, order))
    return found.squeeze(1) / spacing**order


@pytest.mark.parametrize(("order", "total"), [(0, 1.0), (1, 0.0), (2, 0.0)])
def test_weights_add_up(order, total):
    weights = bspline.weights(PLACES, order)
    torch.testing.assert_close(weights.sum(1), torch.full_like(PLACES, total), rtol=0, atol=1e-15)
    if order == 0:
        assert (weights >= 0).all()


@pytest.mark.parametrize("order", [1, 2])
def test_weights_are_derivatives_of_each_other(order):
    def lower(t):
        return bspline.weights(t, order - 1)

    _, slope = torch.func.jvp(lower, (PLACES,), (torch.ones_like(PLACES),))
    torch.testing.assert_close(bspline.weights(PLACES, order), slope, rtol=0, atol=1e-14)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_weights_join_at_the_knots(order):
    """C²: what ends one interval begins the next."""
    left = bspline.weights(torch.ones(1, dtype=DOUBLE), order)[0]
    right = bspline.weights(torch.zeros(1, dtype=DOUBLE), order)[0]
    zero = torch.zeros(1, dtype=DOUBLE)
    torch.testing.assert_close(torch.cat([left, zero]), torch.cat([zero, right]))


@pytest.mark.parametrize("order", [-1, 3])
def test_other_orders_are_refused(order):
    with pytest.raises(ValueError, match=f"order 0 to 2, got {order}"):
        bspline.weights(PLACES, order)


@given(st.lists(st.floats(-3, 3), min_size=4, max_size=4))
def test_cubics_are_exact(coefficients):
    a, b, c, d = coefficients
    r = torch.linspace(0, 1.999, 57, dtype=DOUBLE)
    exact = {
        0: a + b * r + c * r**2 + d * r**3,
        1: b + 2 * c * r + 3 * d * r**2,
        2: 2 * c + 6 * d * r,
    }
    for order, expected in exact.items():
        found = spline(lambda x: a + b * x + c * x**2 + d * x**3, 0.1, r, order)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("order", "power"), [(0, 4), (1, 3), (2, 2)])
def test_errors_fall_under_refinement(order, power):
    """Values err as h⁴, slopes as h³, curvatures as h²."""
    r = 1.999 * torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    exact = {0: torch.sin(5 * r), 1: 5 * torch.cos(5 * r), 2: -25 * torch.sin(5 * r)}[order]
    errors = [
        float((spline(lambda x: torch.sin(5 * x), h, r, order) - exact).abs().max())
        for h in (0.01, 0.005, 0.0025)
    ]
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert coarse / fine == pytest.approx(2**power, rel=0.1)


def test_derivatives_equal_autograd():
    table, interval = torch.randn(9, 3, dtype=DOUBLE), torch.tensor([0, 1, 5, 5])
    t = torch.tensor([0.0, 0.3, 0.7, 0.999], dtype=DOUBLE)

    def value(t):
        return bspline.values(table, interval, bspline.weights(t))

    def slope(t):
        return torch.func.jvp(value, (t,), (torch.ones_like(t),))[1]

    _, curvature = torch.func.jvp(slope, (t,), (torch.ones_like(t),))
    for order, expected in ((1, slope(t)), (2, curvature)):
        found = bspline.values(table, interval, bspline.weights(t, order))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


@given(st.integers(1, 9), st.integers(0, 99))
def test_adjoint_of_the_coefficients(number, seed):
    """⟨c̄, C s⟩ = ⟨Cᵀ c̄, s⟩."""
    random = torch.Generator().manual_seed(seed)
    samples = torch.randn(number + 2, 3, dtype=DOUBLE, generator=random)
    bar = torch.randn(number, 3, dtype=DOUBLE, generator=random)
    one = (bar * bspline.coefficients(samples)).sum()
    other = (bspline.coefficients_adjoint(bar) * samples).sum()
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_quartics_err_by_the_leading_term():
    """S − W = −h⁴ W⁗ (2/3 + t² (1 − t)²) / 24, and S′ − W′ = −h³ W⁗ t (1 − t) (1 − 2t) / 12."""
    for spacing in (0.1, 0.05):
        r = torch.linspace(0, 1.999, 57, dtype=DOUBLE)
        t = r / spacing - (r / spacing).long()
        bump = (t * (1 - t)).square()
        error = spline(lambda r: r**4, spacing, r) - r**4
        torch.testing.assert_close(error, -(spacing**4) * (2 / 3 + bump), rtol=0, atol=1e-13)
        slope = spline(lambda r: r**4, spacing, r, order=1) - 4 * r**3
        expected = -2 * spacing**3 * t * (1 - t) * (1 - 2 * t)
        torch.testing.assert_close(slope, expected, rtol=0, atol=1e-12)
