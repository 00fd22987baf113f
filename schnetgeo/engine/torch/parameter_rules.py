"""Rules of the operations on each atom alone that have parameters."""

import torch
from torch import Tensor

from schnetgeo.engine import program
from schnetgeo.engine.torch.rule import Rule
from schnetgeo.engine.torch.tape import Part, Tape


class Embedding(Rule):
    def forward(self, op: program.Embedding, tape: Tape) -> None:
        torch.index_select(tape.parameters[op.weight], 0, tape.z, out=tape.value(op.out)[0])

    def transpose(self, op: program.Embedding, tape: Tape, part: Part) -> None:
        """Numbers have no adjoint."""

    def tangent(self, op: program.Embedding, tape: Tape) -> None:
        """Never moves."""

    def transpose_dual(self, op: program.Embedding, tape: Tape) -> None:
        b, z = tape.adjoint(Part.VALUE, op.out)[0], tape.z.unsqueeze(1)
        one_hot = b.new_zeros(z.numel(), tape.parameters[op.weight].size(0)).scatter_(1, z, 1)
        tape.add_gradient(op.weight, one_hot.t() @ b)  # adds in the same order every time


class Linear(Rule):
    def forward(self, op: program.Linear, tape: Tape) -> None:
        out = self._product(op, tape, tape.value)
        if op.bias is not None:
            out.add_(tape.parameters[op.bias])

    def transpose(self, op: program.Linear, tape: Tape, part: Part) -> None:
        adjoint = tape.adjoint(part, op.out)
        if tape.wants(part, op.x):
            into, first = tape.adjoint_to_fill(part, op.x)
            into, rows, weight = _rows(into), _rows(adjoint), tape.parameters[op.weight]
            if first:
                torch.mm(rows, weight, out=into)
            else:
                into.addmm_(rows, weight)
        if op.residual is not None and tape.wants(part, op.residual):
            tape.add(part, op.residual, adjoint)

    def tangent(self, op: program.Linear, tape: Tape) -> None:
        if tape.moves[op.x]:
            self._product(op, tape, tape.tangent)
        else:
            tape.tangent(op.out).copy_(tape.tangent(op.residual))

    def transpose_dual(self, op: program.Linear, tape: Tape) -> None:
        self.transpose(op, tape, Part.VALUE)
        if tape.trains(op.weight):
            b_and_a, v_and_t = tape.adjoints[op.out], tape.values[op.x]
            parts = min(len(b_and_a), len(v_and_t))
            product = _rows(b_and_a[:parts]).t() @ _rows(v_and_t[:parts])
            tape.add_gradient(op.weight, product)
        if tape.trains(op.bias):
            tape.add_gradient(op.bias, _rows(tape.adjoint(Part.VALUE, op.out)).sum(0))

    def _product(self, op: program.Linear, tape: Tape, part) -> Tensor:
        """Compute x weightᵀ + residual, of values or of tangents."""
        x, weight, out = _rows(part(op.x)), tape.parameters[op.weight].t(), _rows(part(op.out))
        residual = op.residual
        if residual is None or part == tape.tangent and not tape.moves[residual]:
            return torch.mm(x, weight, out=out)
        return torch.addmm(_rows(part(residual)), x, weight, out=out)


class Scale(Rule):
    def forward(self, op: program.Scale, tape: Tape) -> None:
        torch.mul(tape.value(op.x), tape.parameters[op.weight], out=tape.value(op.out))

    def transpose(self, op: program.Scale, tape: Tape, part: Part) -> None:
        if tape.wants(part, op.x):
            tape.add(part, op.x, tape.adjoint(part, op.out) * tape.parameters[op.weight])

    def tangent(self, op: program.Scale, tape: Tape) -> None:
        torch.mul(tape.tangent(op.x), tape.parameters[op.weight], out=tape.tangent(op.out))

    def transpose_dual(self, op: program.Scale, tape: Tape) -> None:
        self.transpose(op, tape, Part.VALUE)
        if tape.trains(op.weight):
            adjoints = tape.adjoints[op.out]
            product = adjoints * tape.values[op.x][: len(adjoints)]
            tape.add_gradient(op.weight, _rows(product).sum(0))


class Shift(Rule):
    def forward(self, op: program.Shift, tape: Tape) -> None:
        torch.add(tape.value(op.x), tape.parameters[op.bias], out=tape.value(op.out))

    def transpose(self, op: program.Shift, tape: Tape, part: Part) -> None:
        if tape.wants(part, op.x):
            tape.add(part, op.x, tape.adjoint(part, op.out))

    def tangent(self, op: program.Shift, tape: Tape) -> None:
        tape.tangent(op.out).copy_(tape.tangent(op.x))

    def transpose_dual(self, op: program.Shift, tape: Tape) -> None:
        self.transpose(op, tape, Part.VALUE)
        if tape.trains(op.bias):
            tape.add_gradient(op.bias, _rows(tape.adjoint(Part.VALUE, op.out)).sum(0))


def _rows(x: Tensor) -> Tensor:
    """Rows of channels, whatever comes before them."""
    return x.view(-1, x.size(-1))
