"""The filters of a program at any distances, by plain torch."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from schnetgeo.engine.plain import apply
from schnetgeo.engine.program import Program


def evaluate(
    program: Program, parameters: Sequence[Tensor], basis: Float[Tensor, "E K"]
) -> list[Float[Tensor, "E F"]]:
    """The results of a program of filters for basis functions e(r); differentiable."""
    registers = {0: basis}
    for op in program.operations:
        registers[op.out] = apply(op, registers, parameters, program)
    return [registers[register] for register in program.outputs]
