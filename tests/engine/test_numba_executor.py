import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from schnetgeo.engine.numba.energy import Atoms, NumbaEnergy, refusal
from tests.engine import operations
from tests.engine.programs import Case, expected, random_case, random_models

MODELS = operations.models()
a_hundred = settings(max_examples=100, deadline=None, derandomize=True)


def with_energy_loss(case: Case, energy_bar: float) -> Case:
    """The case with another loss, on the energy of all atoms."""
    outputs, energy = case.program.atoms.outputs, case.program.energy
    of_energy = energy_bar * case.atom_weights[:, None, None]
    bars = zip(outputs, case.values_bar, strict=True)
    return case._replace(values_bar=[b + of_energy if o == energy else b for o, b in bars])


def run(case: Case, energy_bar: float, gradients: bool):
    """Energy, radial, angular, values, and gradients for parameters."""
    energy = NumbaEnergy(case.program, tuple(case.parameters))
    ptr = torch.tensor([0, len(case.z)])
    batch = energy.prepare(Atoms(case.z, ptr, case.atom_weights), case.edges)
    parameters = [t.clone().requires_grad_() for t in case.parameters]
    energies, radial, angular, *values = energy(batch, case.basis, gradients, *parameters)
    loss = energy_bar * energies.sum()
    loss = loss + sum((b * v).sum() for b, v in zip(case.values_bar, values, strict=True))
    if gradients:
        loss = loss + (case.radial_bar * radial).sum() + (case.angular_bar * angular).sum()
    found = torch.autograd.grad(loss, parameters)
    results = energies, radial, angular, *values
    return *(result.detach() for result in results), found


def of_first_edges(values: torch.Tensor, case: Case, sign: int) -> torch.Tensor:
    """What both edges of a pair have, at the first."""
    reverse = case.edges.edges.reverse
    first = torch.arange(len(reverse)) < reverse
    both = values + sign * values[reverse]
    return torch.where(first.view(-1, *[1] * (values.dim() - 1)), both, 0.0)


def assert_agrees(case: Case, gradients: bool = True):
    want = expected(with_energy_loss(case, -0.7), gradients)
    energy, radial, angular, *values, parameters = run(case, -0.7, gradients)
    pairs = [("energy", energy, want.energy.reshape(1))]
    pairs += [("value", *pair) for pair in zip(values, want.values, strict=True)]
    if gradients:
        pairs.append(("radial", radial, of_first_edges(want.radial, case, 1)))
        pairs.append(("angular", angular, of_first_edges(want.angular, case, -1)))
    names = [f"parameter {n}" for n in range(len(parameters))]
    pairs += zip(names, parameters, want.parameters, strict=True)
    for name, found, right in pairs:
        scale = float(right.abs().max()) if right.numel() else 0.0
        torch.testing.assert_close(
            found,
            right,
            rtol=0,
            atol=1e-12 * scale + 1e-14,
            msg=lambda m, name=name: f"{name}: {m}",
        )


def may_run(model) -> bool:
    return refusal(model.program, nn.Identity()) is None


@a_hundred
@given(random_models().filter(may_run), st.integers(0, 99), st.booleans())
def test_random_programs_equal_autograd(model, seed, gradients):
    assert_agrees(random_case(model, seed), gradients)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("gradients", [True, False])
def test_each_operation_equals_autograd(name, gradients):
    assert_agrees(random_case(MODELS[name], seed=1), gradients)


@pytest.mark.parametrize(("num_atoms", "num_pairs"), [(1, 0), (3, 0), (1, 2)])
def test_few_atoms_and_edges(num_atoms, num_pairs):
    for name in ("Multiply vector scalar", "gradient still"):
        assert_agrees(random_case(MODELS[name], 1, num_atoms, num_pairs))


def test_the_backward_pass_can_be_repeated():
    case = random_case(MODELS["Multiply vector scalar"], seed=1)
    energy = NumbaEnergy(case.program, tuple(case.parameters))
    atoms = Atoms(case.z, torch.tensor([0, len(case.z)]), case.atom_weights)
    parameters = [t.clone().requires_grad_() for t in case.parameters]
    batch = energy.prepare(atoms, case.edges)
    result = energy(batch, case.basis, True, *parameters)
    loss = sum((t**2).sum() for t in result)
    first = torch.autograd.grad(loss, parameters, retain_graph=True)
    again = torch.autograd.grad(loss, parameters)
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one, other)
