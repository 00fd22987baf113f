import math

import pytest
import torch
from torch import nn

from schnetgeo.engine.edges import csr_edges, knot_weights, value_and_derivative, vanishes_beyond
from schnetgeo.engine.knots import Knots, length_scale
from schnetgeo.errors import InputError
from schnetgeo.nn import CosineCutoff, GaussianBasis, StepCutoff
from schnetgeo.ops import Edges, bspline
from tests.structures import structure


class Waves(nn.Module):
    """sin(n π r / r_c) / r, undefined at 0, times trained heights."""

    def __init__(self, num_basis, cutoff):
        super().__init__()
        self.heights = nn.Parameter(torch.ones(num_basis))
        self.register_buffer("wave_numbers", math.pi / cutoff * torch.arange(1.0, num_basis + 1))

    def forward(self, r):
        phase = self.wave_numbers * r.unsqueeze(-1)
        return self.heights * self.wave_numbers * torch.sinc(phase / math.pi)


class Quotient(Waves):
    def forward(self, r):
        return torch.sin(self.wave_numbers * r.unsqueeze(-1)) / r.unsqueeze(-1)


class Smoothstep(nn.Module):
    """A cutoff function as a user writes it."""

    def __init__(self, cutoff):
        super().__init__()
        self.cutoff = cutoff

    def forward(self, r):
        x = (r / self.cutoff).clamp(max=1)
        return 1 - x * x * (3 - 2 * x)


@pytest.mark.parametrize(
    ("num_basis", "cutoff", "gamma"), [(50, 5.0, None), (300, 30.0, 10.0), (2, 5.0, None)]
)
def test_spacing_is_a_fraction_of_the_width_of_gaussians(num_basis, cutoff, gamma):
    basis = GaussianBasis(num_basis, cutoff, gamma)
    sigma = 1 / math.sqrt(2 * basis.gamma)
    assert length_scale(basis, cutoff) == pytest.approx(sigma, rel=1e-4)
    assert Knots(basis, cutoff).spacing == float(f"{0.08 * sigma:.3g}")


def test_a_narrow_gaussian_is_seen():
    basis = GaussianBasis(10, 5.0, gamma=0.5 / 0.003**2)
    assert length_scale(basis, 5.0) == pytest.approx(0.003, rel=1e-3)


def test_spacing_of_waves_is_that_of_the_fastest():
    length = length_scale(Waves(8, 5.0), 5.0)
    assert length == pytest.approx(math.sqrt(3) * 5 / (8 * math.pi), rel=1e-3)  # at r = 0
    assert length_scale(Waves(8, 5.0).double(), 5.0) == length
    assert Knots(Waves(16, 5.0), 5.0).spacing < Knots(Waves(8, 5.0), 5.0).spacing


@pytest.mark.parametrize("spacing", [0, -0.1, 6.0, float("nan"), 1e-7])
def test_spacings_that_make_no_sense(spacing):
    with pytest.raises(InputError, match="spacing"):
        Knots(GaussianBasis(8, 5.0), 5.0, spacing)


def test_a_basis_without_values():
    with pytest.raises(InputError, match="basis is not finite at r = 0 Å"):
        Knots(Quotient(4, 5.0), 5.0)
    with pytest.raises(InputError, match="basis is 0 at all distances"):
        Knots(_Zero(), 5.0)


class _Zero(nn.Module):
    def forward(self, r):
        return torch.zeros(r.numel(), 3, dtype=r.dtype)


def test_samples_are_the_basis_on_the_knots():
    basis, like = GaussianBasis(8, 5.0), torch.zeros(1)
    knots = Knots(basis, 5.0, 0.1)
    samples = knots.samples(range(15, 34), like)
    r = torch.arange(14, 35, dtype=torch.float64) * 0.1
    assert torch.equal(samples, basis(r).float())
    assert samples.data_ptr() == knots.samples(range(15, 34), like).data_ptr()


def test_samples_follow_parameters():
    basis = Waves(4, 5.0)
    knots, like = Knots(basis, 5.0), torch.zeros(1)
    numbers = range(-1, 18)
    knots.samples(numbers, like).sum().backward()
    (expected,) = torch.autograd.grad(_on_knots(knots, numbers).sum(), basis.heights)
    torch.testing.assert_close(basis.heights.grad, expected)
    basis.requires_grad_(False)
    assert not knots.samples(numbers, like).requires_grad
    basis.heights.mul_(2)
    torch.testing.assert_close(knots.samples(numbers, like), _on_knots(knots, numbers))


def _on_knots(knots, numbers):
    r = torch.arange(numbers.start - 1, numbers.stop + 1) * knots.spacing
    return knots.basis(r)


@pytest.mark.parametrize("cutoff_fn", [CosineCutoff, StepCutoff, Smoothstep])
def test_weights_are_the_splines_times_the_cutoff_function(cutoff_fn):
    knots, f = Knots(GaussianBasis(8, 4.0), 4.0), cutoff_fn(4.0)
    r = torch.linspace(0.3, 4.4, 40, dtype=torch.float64).requires_grad_()
    none = torch.zeros(40, dtype=torch.long)
    placed = knot_weights(knots, f, r, Edges(none, none, none, none))
    c = torch.randn(len(placed.coefficients), dtype=torch.float64)
    u = r / knots.spacing - placed.coefficients.start - 1
    k = u.detach().long().clamp(0, len(c) - 4)
    spline = (bspline.weights(u - k) * c[k.unsqueeze(1) + torch.arange(4)]).sum(1)
    value = torch.where(r < 4.0, f(r) * spline, 0.0)
    (derivative,) = torch.autograd.grad(value.sum(), r)

    def evaluate(weights):
        return (weights * c[placed.interval.unsqueeze(1) + torch.arange(4)]).sum(1)

    torch.testing.assert_close(evaluate(placed.weights), value.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(evaluate(placed.derivatives), derivative, rtol=0, atol=1e-10)


def test_which_cutoff_functions_vanish():
    assert vanishes_beyond(CosineCutoff(4.0), 4.0)
    assert vanishes_beyond(StepCutoff(3.0), 4.0)
    assert vanishes_beyond(Smoothstep(4.0), 4.0)
    assert not vanishes_beyond(Smoothstep(4.1), 4.0)
    assert not vanishes_beyond(nn.Identity(), 4.0)


def test_the_derivative_of_a_constant_is_zero():
    r = torch.linspace(0, 5, 7)
    f, df = value_and_derivative(StepCutoff(4.0), r)
    assert torch.equal(f, (r < 4).float())
    assert not df.any()


def test_edges_of_a_structure_get_their_reverse():
    data = structure([1, 1, 8], torch.eye(3))
    data.edge_index = torch.tensor([[1, 2, 0, 0], [0, 0, 1, 2]])
    edges = csr_edges(data)
    assert edges.row_pointers.tolist() == [0, 2, 3, 4]
    assert edges.reverse.tolist() == [2, 3, 0, 1]
    data.edge_index = data.edge_index[:, :3]
    with pytest.raises(InputError, match="reverse"):
        csr_edges(data)
