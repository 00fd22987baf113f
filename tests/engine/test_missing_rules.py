"""An operation or function that an executor does not know is left to one that does."""

from typing import get_args

import pytest
import torch

from schnetgeo.engine import explain, plain
from schnetgeo.engine import program as p
from schnetgeo.engine.numba import energy
from schnetgeo.engine.torch import executor
from tests.engine import operations, reference
from tests.engine.potentials import assert_same_training, exact, methanol, potential_of
from tests.engine.potentials import training_step as step

ABSENT = [p.Multiply, p.Function.SILU]


def without(rules, absent):
    return tuple(rule for rule in rules if rule is not absent)


@pytest.mark.parametrize("absent", ABSENT, ids=["operation", "function"])
def test_absent_from_compiled_code(absent, monkeypatch):
    name, data = getattr(absent, "name", "Multiply"), methanol()
    expected = step(potential_of("PaiNN"), data)
    monkeypatch.setattr(energy, "OPERATIONS", without(energy.OPERATIONS, absent))
    monkeypatch.setattr(energy, "FUNCTIONS", without(energy.FUNCTIONS, absent))
    potential = potential_of("PaiNN")
    explanation = explain(potential, data)
    assert explanation.executor == "torch"
    assert explanation.reason == f"compiled code has no rule for {name}"
    assert_same_training(step(potential, data), expected, 1e-12)


@pytest.mark.parametrize("absent", ABSENT, ids=["operation", "function"])
def test_absent_from_all_executors(absent, monkeypatch):
    name, data = getattr(absent, "name", "Multiply"), methanol()
    rules = executor.RULES if isinstance(absent, type) else executor.FORMULAS
    monkeypatch.delitem(rules, absent)
    potential = potential_of("PaiNN")
    explanation = explain(potential, data)
    assert explanation.executor == "autograd"
    assert explanation.reason.startswith(f"no executor has a rule for {name}; ")
    assert torch.equal(potential(data).forces, exact(potential)(data).forces)


def test_each_operation_and_function_has_rules_and_a_test():
    """The programs of `operations` are compared with autograd, in both executors."""
    all_of_them = {*get_args(p.Operation), *p.Function}
    assert all_of_them == {*executor.RULES, *executor.FORMULAS}
    assert all_of_them == {*energy.OPERATIONS, *energy.FUNCTIONS}
    assert {*p.Function} == {*plain.FUNCTIONS} == {*reference.FUNCTIONS}
    tested = [op for model in operations.models().values() for op in model.program.atoms.operations]
    functions = {op.function for op in tested if isinstance(op, p.Activation)}
    assert all_of_them == {*map(type, tested), *functions}
