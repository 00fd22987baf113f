"""Registers share memory where nobody reads them any more, and only there."""

from hypothesis import given, settings

from schnetgeo.engine.lowering.lower import lower
from schnetgeo.engine.numba.executor import _live
from schnetgeo.engine.numba.placement import Memory
from schnetgeo.engine.program import Activation, FilterConv, Linear, Multiply, Scale, inputs
from schnetgeo.nn import PaiNN
from tests.engine.programs import random_models

PRODUCTS = Linear, Multiply, Scale, FilterConv


@settings(max_examples=50, deadline=None, derandomize=True)
@given(model=random_models())
def test_what_the_backward_pass_reads_lies_apart(model):
    program = _live(model.program.atoms)
    memory = Memory(program, model.program.energy)
    products = [o for o in program.operations if isinstance(o, PRODUCTS)]
    factors = {r for o in products for r in inputs(o)} - memory.arguments
    assert_apart(memory, "value", factors | set(program.outputs))
    moving = {r for r in range(len(program.registers)) if memory.registers[r]["moves"]}
    assert_apart(memory, "adjoint", {o.out for o in products} & moving)
    arguments = {o.x for o in program.operations if isinstance(o, Activation)}
    assert_apart(memory, "tangent", (factors | arguments) & moving)


def assert_apart(memory, field, registers):
    parts = {(int(memory.registers[r][field]), memory.size(r)) for r in registers}
    assert len(parts) == len(registers)
    ordered = sorted(parts)
    for (place, size), (following, _) in zip(ordered, ordered[1:], strict=False):
        assert place >= 0
        assert place + size <= following


def test_painn_needs_three_quarters_of_its_registers():
    program = lower(PaiNN()).program
    memory = Memory(program.atoms, program.energy)
    moves = memory.registers["moves"]
    separate = sum(memory.size(r) * (1 + moves[r]) for r in range(len(moves)))
    assert memory.tape_with_adjoints < 0.75 * separate
