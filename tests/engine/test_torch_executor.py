import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schnetgeo.engine.torch.executor import TorchExecutor
from tests.engine import operations
from tests.engine.programs import SIZES, Case, expected, random_case, random_models

MODELS = operations.models()
a_hundred = settings(max_examples=100, deadline=None, derandomize=True)


def run(case: Case, gradients: bool = True):
    """Values, radial, angular, and gradients for basis and parameters."""
    executor = TorchExecutor(case.program)
    parameters = [t.clone().requires_grad_() for t in case.parameters]
    basis = case.basis.clone().requires_grad_()
    arguments = case.edges, basis, case.z, case.atom_weights, gradients
    tapes, values, *edge_gradients = executor.forward(parameters, *arguments)
    bars = [
        t if have is not None else None
        for t, have in zip((case.radial_bar, case.angular_bar), edge_gradients, strict=True)
    ]
    found, basis_bar = executor.backward(tapes, case.values_bar, *bars)
    return values, *edge_gradients, basis_bar, found


def assert_agrees(case: Case, gradients: bool = True):
    want = expected(case, gradients)
    values, radial, angular, basis, parameters = run(case, gradients)
    pairs = [("basis", basis, want.basis)]
    pairs += [("value", *pair) for pair in zip(values, want.values, strict=True)]
    if gradients:
        pairs += [("radial", radial, want.radial), ("angular", angular, want.angular)]
    names = [f"parameter {n}" for n in range(len(parameters))]
    pairs += zip(names, parameters, want.parameters, strict=True)
    for name, found, right in pairs:
        found = torch.zeros_like(right) if found is None else found
        scale = float(right.abs().max()) if right.numel() else 0.0
        torch.testing.assert_close(
            found,
            right,
            rtol=0,
            atol=1e-12 * scale + 1e-15,  # terms may cancel
            msg=lambda m, name=name: f"{name}: {m}",
        )


@pytest.mark.slow
@a_hundred
@given(random_models(), st.integers(0, 99), SIZES, st.booleans())
def test_random_programs_equal_autograd(model, seed, sizes, gradients):
    assert_agrees(random_case(model, seed, *sizes), gradients)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("gradients", [True, False])
def test_each_operation_equals_autograd(name, gradients):
    assert_agrees(random_case(MODELS[name], seed=1), gradients)


@pytest.mark.parametrize("name", ["Multiply vector scalar", "Activation GELU"])
def test_a_second_backward_pass_gives_the_same(name):
    case = random_case(MODELS[name], seed=1)
    executor = TorchExecutor(case.program)
    parameters = [t.clone().requires_grad_() for t in case.parameters]
    arguments = case.edges, case.basis, case.z, case.atom_weights, True
    tapes, *_ = executor.forward(parameters, *arguments)
    bars = case.values_bar, case.radial_bar, case.angular_bar
    first, _ = executor.backward(tapes, *bars)
    executor.backward(tapes, [2 * bar for bar in case.values_bar], *(2 * bar for bar in bars[1:]))
    again, _ = executor.backward(tapes, *bars)
    for found, right in zip(again, first, strict=True):
        assert found is right is None or torch.equal(found, right)


def test_only_what_requires_a_gradient_gets_one():
    case = random_case(MODELS["Multiply vector scalar"], seed=1)
    want, executor = expected(case), TorchExecutor(case.program)
    for trained in range(len(case.parameters)):
        parameters = [t.clone().requires_grad_(n == trained) for n, t in enumerate(case.parameters)]
        arguments = case.edges, case.basis, case.z, case.atom_weights, True
        tapes, *_ = executor.forward(parameters, *arguments)
        found, basis = executor.backward(tapes, case.values_bar, case.radial_bar, case.angular_bar)
        assert basis is None
        assert [n for n, t in enumerate(found) if t is not None] == [trained]
        torch.testing.assert_close(found[trained], want.parameters[trained])


@pytest.mark.parametrize(("num_atoms", "num_pairs"), [(1, 0), (3, 0), (1, 2)])
def test_few_atoms_and_edges(num_atoms, num_pairs):
    assert_agrees(random_case(MODELS["Multiply scalar still"], 1, num_atoms, num_pairs))
