"""The variance of a last layer, where it is known: in linear models."""

import pytest
import torch

from schnetgeo.errors import InputError
from schnetgeo.potential.posterior import embedding, fit_posterior


def linear_problem(seed: int, noise: float = 0.3, size: int = 40, channels: int = 12):
    """Features, and errors of a ridge regression whose weights were drawn from its prior."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.logspace(0, -2, channels, dtype=torch.float64)

    def features(number: int):
        return torch.randn(number, channels, generator=generator, dtype=torch.float64) * scales

    train, val, test = features(size), features(400), features(400)
    weights = torch.randn(channels, generator=generator, dtype=torch.float64)
    labels = train @ weights
    labels += noise * torch.randn(size, generator=generator, dtype=torch.float64)
    precision = train.T @ train + noise**2 * torch.eye(channels)
    fitted = torch.linalg.solve(precision, train.T @ labels)
    return train, val, test, fitted - weights, noise**2 * precision.inverse()


def test_errors_of_a_ridge_regression_have_the_variance_that_is_said():
    """Over many problems z = error / std has variance 1."""
    squares = []
    for seed in range(60):
        train, val, test, off, _ = linear_problem(seed)
        posterior = fit_posterior(train, val, val @ off)
        squares.append(((test @ off) / posterior.std(test)).square().mean())
    assert float(torch.stack(squares).mean()) == pytest.approx(1, rel=0.05)


def test_it_is_the_covariance_of_bayesian_regression():
    """Errors of many weights, drawn from the posterior, calibrate to the posterior itself."""
    train, val, test, _, covariance = linear_problem(0)
    generator = torch.Generator().manual_seed(1)
    root = torch.linalg.cholesky(covariance)
    draws = torch.randn(300, len(root), generator=generator, dtype=torch.float64) @ root.T
    errors = (val.unsqueeze(0) * draws.unsqueeze(1)).sum(2).flatten()
    posterior = fit_posterior(train, val.repeat(300, 1), errors)
    exact = (test @ covariance * test).sum(1).sqrt()
    torch.testing.assert_close(posterior.std(test), exact, rtol=0.1, atol=0)


def test_units_and_rotations_of_features_do_not_matter():
    train, val, test, off, _ = linear_problem(2)
    rotation, _ = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64))
    std = fit_posterior(train, val, val @ off).std(test)
    other = [1e3 * f @ rotation for f in (train, val, test)]
    rotated = fit_posterior(*other[:2], val @ off).std(other[2])
    torch.testing.assert_close(rotated, std, rtol=1e-6, atol=0)
    twice = fit_posterior(train, val, 2 * val @ off).std(test)
    torch.testing.assert_close(twice, 2 * std)


def test_distances_are_standard_deviations_of_differences():
    train, val, test, off, _ = linear_problem(3)
    posterior = fit_posterior(train, val, val @ off)
    points = embedding(test, posterior.factor)
    torch.testing.assert_close(points.norm(dim=1), posterior.std(test))
    torch.testing.assert_close(
        (points[:200] - points[200:]).norm(dim=1), posterior.std(test[:200] - test[200:])
    )


def test_what_training_never_saw_is_uncertain():
    train, val, _, off, _ = linear_problem(4)
    train[:, 0] = val[:, 0] = 0
    posterior = fit_posterior(train, val, val @ off)
    seen, unseen = torch.eye(12, dtype=torch.float64)[[1, 0]]
    assert posterior.std(unseen[None]) > 3 * posterior.std(seen[None])


def test_too_few_validation_structures_are_refused():
    train, val, _, off, _ = linear_problem(5)
    with pytest.raises(InputError, match="val has 9 labeled structures, too few .* 10 or more"):
        fit_posterior(train, val[:9], (val @ off)[:9])
    with pytest.raises(InputError, match="every prediction on val equals its label"):
        fit_posterior(train, val, 0 * (val @ off))
