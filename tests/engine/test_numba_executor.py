import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from schnetgeo.engine.numba import executor
from schnetgeo.engine.numba.backward import Tangents
from schnetgeo.engine.numba.blocks import Blocks
from schnetgeo.engine.numba.energy import Flattened, refusal
from schnetgeo.engine.numba.structures import Measured, Structures
from tests.engine import operations
from tests.engine.programs import SIZES, Case, expected, random_case, random_models

MODELS = operations.models()
a_hundred = settings(max_examples=100, deadline=None, derandomize=True)


def with_energy_loss(case: Case, energy_bar: float) -> Case:
    """The case with another loss, on the energy of all atoms."""
    outputs, energy = case.program.atoms.outputs, case.program.energy
    of_energy = energy_bar * case.atom_weights[:, None, None]
    bars = zip(outputs, case.values_bar, strict=True)
    return case._replace(values_bar=[b + of_energy if o == energy else b for o, b in bars])


def assembled(case: Case):
    """The program, its parameters, and its batch as compiled code takes them."""
    code = executor.Assembled.of(case.program, [tuple(t.shape) for t in case.parameters])
    count = len(case.z)
    source, target, row_pointers, reverse = (array.numpy() for array in case.edges.edges)
    blocks = Blocks(np.array([0, count]), np.array([0, 1]), np.array([0, 1]), count)
    no_shift, no_cell = np.empty((0, 3), np.int64), np.empty((0, 3, 3))
    structures = Structures(
        case.z.numpy(), np.zeros((count, 3)), blocks.ptr, source, target, reverse, no_shift, no_cell
    )
    measured = Measured(structures, row_pointers, blocks, case.distance.numpy(), case.unit.numpy())
    arrays = case.edges.interval, case.edges.weights, case.edges.derivatives
    batch = executor.Batch.of(measured, case.atom_weights.numpy(), *(a.numpy() for a in arrays))
    return code, Flattened()(case.parameters), batch


def run(case: Case, energy_bar: float, gradients: bool):
    """Energy, radial, angular, values, and gradients for parameters."""
    code, flat, batch = assembled(case)
    tape, results = executor.forward(code, flat, case.basis.numpy(), batch, gradients)
    bars = case.radial_bar.numpy(), case.angular_bar.numpy()
    values_bar = np.concatenate([bar.numpy().reshape(-1) for bar in case.values_bar])
    found = executor.backward(
        code,
        tape,
        batch,
        np.array([energy_bar]),
        values_bar,
        Tangents(*bars) if gradients else None,
    )
    parts = torch.from_numpy(found).split([t.numel() for t in case.parameters])
    shaped = [part.view_as(t) for part, t in zip(parts, case.parameters, strict=True)]
    arrays = *results[:3], *code.split(results.values)
    return *map(torch.from_numpy, arrays), shaped


def of_first_edges(values: torch.Tensor, case: Case, sign: int) -> torch.Tensor:
    """What both edges of a pair have, at the first."""
    reverse = case.edges.edges.reverse
    first = torch.arange(len(reverse)) < reverse
    both = values + sign * values[reverse]
    return torch.where(first.view(-1, *[1] * (values.dim() - 1)), both, 0.0)


def assert_agrees(case: Case, gradients: bool = True, floor: float = 1e-14):
    want = expected(with_energy_loss(case, -0.7), gradients)
    energy, radial, angular, *values, parameters = run(case, -0.7, gradients)
    pairs = [("energy", energy, want.energy.reshape(1))]
    pairs += [("value", *pair) for pair in zip(values, want.values, strict=True)]
    if gradients:
        pairs.append(("radial", radial, of_first_edges(want.radial, case, 1)))
        if len(angular):  # of a program with directions
            pairs.append(("angular", angular, of_first_edges(want.angular, case, -1)))
    names = [f"parameter {n}" for n in range(len(parameters))]
    pairs += zip(names, parameters, want.parameters, strict=True)
    for name, found, right in pairs:
        scale = float(right.abs().max()) if right.numel() else 0.0
        torch.testing.assert_close(
            found,
            right,
            rtol=0,
            atol=1e-12 * scale + floor,
            msg=lambda m, name=name: f"{name}: {m}",
        )


def may_run(model) -> bool:
    return refusal(model.program, nn.Identity()) is None


@pytest.mark.slow
@a_hundred
@given(random_models().filter(may_run), st.integers(0, 99), SIZES, st.booleans())
def test_random_programs_equal_autograd(model, seed, sizes, gradients):
    assert_agrees(random_case(model, seed, *sizes), gradients)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("gradients", [True, False])
def test_each_operation_equals_autograd(name, gradients):
    assert_agrees(random_case(MODELS[name], seed=1), gradients)


@pytest.mark.parametrize(("num_atoms", "num_pairs"), [(1, 0), (3, 0), (1, 2)])
def test_few_atoms_and_edges(num_atoms, num_pairs):
    for name in ("Multiply vector scalar", "gradient still"):
        # of one atom and its own images all terms cancel: their sum is the rounding of terms of ~10
        assert_agrees(random_case(MODELS[name], 1, num_atoms, num_pairs), floor=1e-13)


def test_the_backward_pass_can_be_repeated():
    case = random_case(MODELS["Multiply vector scalar"], seed=1)
    code, flat, batch = assembled(case)
    tape, results = executor.forward(code, flat, case.basis.numpy(), batch, True)
    bars = results.energy, results.values, Tangents(results.radial, results.angular)
    first, again = (executor.backward(code, tape, batch, *bars) for _ in range(2))
    assert np.array_equal(first, again)


def test_numbers_are_those_that_tensors_have_now():
    """After writing to one, after giving it other memory, and after turning it."""
    flattened, tensors = Flattened(), [torch.arange(4.0).view(2, 2), torch.ones(1)]
    tensors[0].requires_grad_()
    for change in (torch.zero_, lambda t: t.set_(torch.rand(2, 2)), lambda t: t.t_()):
        flattened(tensors)
        with torch.no_grad():
            change(tensors[0])
        expected = torch.cat([tensor.flatten() for tensor in tensors]).detach()
        assert flattened(tensors).tolist() == expected.tolist()
