"""Which operations of a program count, and which of their registers need what."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from schnetgeo.engine.program import (
    FilterConv,
    Operation,
    Program,
    has_tangent,
    inputs,
    live_operations,
    parameters,
)


class Schedule(NamedTuple):
    """The operations that the results of a program depend on, in order."""

    program: Program
    operations: tuple[Operation, ...]
    moves: tuple[bool, ...]  # whether a register depends on the edges, and the energy on it

    @classmethod
    def of(cls, program: Program, outputs: Sequence[int], energy: int | None = None) -> "Schedule":
        """The operations that some registers of a program depend on."""
        return cls(program, live_operations(program, outputs), has_tangent(program, energy))


def needs_adjoint(
    schedule: Schedule,
    tensors: Sequence[Tensor],
    filters: Sequence[bool] = (),
    known: Sequence[int] = (),
) -> list[bool]:
    """Whether something that is trained goes into each register.

    Args:
        schedule: of the operations.
        tensors: the parameters.
        filters: whether something that is trained goes into each filter.
        known: registers that no operation writes, but which something trained goes into.
    """
    needs = [register in known for register in range(len(schedule.program.registers))]
    for operation in schedule.operations:
        trained = any(tensors[p].requires_grad for p in parameters(operation))
        if isinstance(operation, FilterConv):
            trained |= filters[operation.filter]
        needs[operation.out] = trained or any(needs[r] for r in inputs(operation))
    return needs
