"""What the engine computes is what autograd computes with the same splines, to rounding."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schnetgeo import ops
from schnetgeo.ops import torch_backend
from tests.engine.on_knots import assert_equals_autograd
from tests.engine.potentials import (
    EXECUTORS,
    MODELS,
    batch_of,
    crystals_and_atoms,
    potential_of,
    use_executor,
)
from tests.structures import clusters, crystals

COARSE = 0.2  # Å, so that splines are far from the filters


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(
    "what",
    [dict(stress=True), dict(forces=False), dict(forces=False, stress=True)],
    ids=["all", "energy", "stress"],
)
def test_crystals_and_atoms(name, executor, what, monkeypatch):
    use_executor(executor, monkeypatch)
    assert_equals_autograd(potential_of(name, spacing=COARSE), crystals_and_atoms(), **what)


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(atoms=st.lists(st.one_of(clusters(8), crystals(3)), min_size=1, max_size=4))
def test_any_batch(name, atoms):
    """Cells smaller than the cutoff and atoms without neighbors among them."""
    assert_equals_autograd(potential_of(name, spacing=COARSE), batch_of(*atoms))


@pytest.mark.parametrize("name", MODELS)
def test_with_the_kernels_in_plain_torch(name, monkeypatch):
    use_executor("torch", monkeypatch)
    monkeypatch.setattr(ops, "get_backend", lambda tensor: torch_backend)
    potential = potential_of(name, spacing=COARSE)
    assert_equals_autograd(potential, crystals_and_atoms(), stress=True)
