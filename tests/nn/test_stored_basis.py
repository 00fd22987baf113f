import math

import pytest
import torch

import schnetgeo as sg
from schnetgeo.nn import (
    BesselBasis,
    ExpNormalBasis,
    GaussianBasis,
    MollifierCutoff,
    StoredBesselBasis,
    StoredGaussianBasis,
)

R = torch.linspace(0.0, 5.0, 41, dtype=torch.float64)
BASES = {
    "gaussian": StoredGaussianBasis.of(torch.linspace(0, 5, 9), 2.5),
    "widths": StoredGaussianBasis.of(torch.linspace(0, 5, 9), torch.linspace(1, 3, 9).double()),
    "bessel": StoredBesselBasis.of(torch.arange(1, 7) * math.pi / 5),
    "expnorm": ExpNormalBasis.of(torch.linspace(0.01, 1, 9), torch.full((9,), 20.0), 5.0),
}


def test_equal_to_bases_that_compute_their_tables():
    gaussians = GaussianBasis(9, 5.0, 2.5)
    centers = torch.linspace(0, 5, 9, dtype=torch.float64)
    stored = StoredGaussianBasis.of(centers, 2.5)
    torch.testing.assert_close(stored(R), gaussians(R), rtol=1e-13, atol=0)
    wave_numbers = torch.arange(1, 7, dtype=torch.float64) * (math.pi / 5)
    expected = BesselBasis(6, 5.0)(R) / math.sqrt(2 / 5)
    torch.testing.assert_close(StoredBesselBasis.of(wave_numbers)(R), expected)


def test_expnorm_is_its_formula():
    means, betas = torch.tensor([0.2, 0.9]).double(), torch.tensor([10.0, 30.0]).double()
    e = ExpNormalBasis.of(means, betas, 5.0)(torch.tensor([1.3]).double())
    f = 0.5 * (math.cos(math.pi * 1.3 / 5) + 1)
    expected = [f * math.exp(-b * (math.exp(-1.3) - m) ** 2) for m, b in ((0.2, 10), (0.9, 30))]
    torch.testing.assert_close(e[0], torch.tensor(expected).double())


@pytest.mark.parametrize("name", BASES)
def test_tables_keep_their_digits(name, tmp_path):
    """Under .float() and .half(), and in the file of a float32 model."""
    basis = BASES[name]
    before = {key: value.clone() for key, value in basis.named_buffers()}
    model = sg.SchNet(8, 1, basis=basis, cutoff=5.0).half().float()
    sg.Potential(model).save(tmp_path / "m.safetensors")
    loaded = sg.load(tmp_path / "m.safetensors").model.basis
    for part in (model.basis, loaded):
        for key, value in part.named_buffers():
            assert value.dtype == torch.float64
            assert torch.equal(value, before[key])


@pytest.mark.parametrize("name", BASES)
def test_smooth_from_zero_on(name):
    r = torch.tensor([0.0, 1e-6, 0.7, 4.99], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: BASES[name](x), (r[2:].detach().requires_grad_(),))
    assert torch.autograd.grad(BASES[name](r).sum(), r)[0].isfinite().all()


def test_mollifier_is_its_formula():
    f = MollifierCutoff(4.0)
    assert f(torch.tensor([0.0, 4.0, 4.5])).tolist() == [1.0, 0.0, 0.0]
    assert float(f(torch.tensor(2.0).double())) == pytest.approx(math.exp(1 - 1 / 0.75), rel=1e-14)
    near = torch.tensor([3.999, 4.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(f(near).sum(), near)[0].isfinite().all()
