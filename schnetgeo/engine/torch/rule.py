"""What an executor does for one operation of a program."""

from typing import Protocol

from schnetgeo.engine.program import Operation
from schnetgeo.engine.torch.tape import Part, Tape


class Rule(Protocol):
    """The four rules of one operation.

    With v and t the value and tangent of a register, a the adjoint of t, and b that of v.
    """

    def forward(self, op: Operation, tape: Tape) -> None:
        """Compute v of the result."""

    def transpose(self, op: Operation, tape: Tape, part: Part) -> None:
        """Add to a (or b) of the arguments what follows from a (or b) of the result."""

    def tangent(self, op: Operation, tape: Tape) -> None:
        """Compute t of the result, which moves."""

    def transpose_dual(self, op: Operation, tape: Tape) -> None:
        """Transpose b, add what second derivatives bring into it, and gradients of parameters.

        Of an operation that is linear and has no parameters, this is all.
        """
        self.transpose(op, tape, Part.VALUE)
