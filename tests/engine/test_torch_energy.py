import pytest
import torch

from schnetgeo.engine.torch.energy import TorchEnergy
from schnetgeo.errors import InputError
from tests.engine import operations
from tests.engine.programs import expected, random_case

MODELS = operations.models()


class Run:
    """One forward pass of a random model, and the loss whose gradients are known."""

    def __init__(self, name="Multiply vector scalar", gradients=True):
        self.case = case = random_case(MODELS[name], seed=2)
        self.parameters = [p.clone().requires_grad_() for p in case.parameters]
        self.basis = case.basis.clone().requires_grad_()
        energy = TorchEnergy(case.program)
        batch = case.z, case.atom_weights, case.edges, self.basis, gradients
        self.radial, self.angular, *self.values = energy(*batch, *self.parameters)
        pairs = zip(case.values_bar, self.values, strict=True)
        self.loss = sum((bar * value).sum() for bar, value in pairs)
        if gradients:
            self.loss = self.loss + (case.radial_bar * self.radial).sum()
            self.loss = self.loss + (case.angular_bar * self.angular).sum()


@pytest.mark.parametrize("gradients", [True, False])
def test_gradients_flow_to_parameters_and_basis(gradients):
    run = Run(gradients=gradients)
    want = expected(run.case, gradients)
    found = torch.autograd.grad(run.loss, [run.basis, *run.parameters])
    torch.testing.assert_close(run.values, want.values, rtol=1e-12, atol=1e-12)
    for got, right in zip(found, (want.basis, *want.parameters), strict=True):
        torch.testing.assert_close(got, right, rtol=1e-11, atol=1e-11)


def test_edge_gradients_that_nobody_wants_are_zero():
    run = Run(gradients=False)
    assert run.radial.shape == run.case.distance.shape
    assert not run.radial.any()


def test_a_second_derivative_in_the_parameters_is_refused():
    run = Run()
    (gradient, *_) = torch.autograd.grad(run.loss, run.parameters, create_graph=True)
    with pytest.raises(InputError, match="second derivative .* filters='exact'"):
        gradient.square().sum().backward()


def test_a_weight_that_changed_before_the_backward_pass_is_an_error():
    run = Run()
    with torch.no_grad():
        run.parameters[0].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        run.loss.backward()


def test_nothing_is_kept_where_no_gradient_is_wanted():
    with torch.no_grad():
        run = Run()
    assert not any(value.requires_grad for value in run.values)
    assert not run.radial.requires_grad
