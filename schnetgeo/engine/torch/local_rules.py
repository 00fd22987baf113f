"""Rules of the operations on each atom alone that have no parameters."""

import torch
from torch import Tensor

from schnetgeo.engine import program
from schnetgeo.engine.torch.functions import derivatives
from schnetgeo.engine.torch.rule import Rule
from schnetgeo.engine.torch.tape import Part, Tape


class Affine(Rule):
    def forward(self, op: program.Affine, tape: Tape) -> None:
        torch.mul(tape.value(op.x), op.scale, out=tape.value(op.out)).add_(op.shift)

    def transpose(self, op: program.Affine, tape: Tape, part: Part) -> None:
        if tape.wants(part, op.x):
            tape.add(part, op.x, tape.adjoint(part, op.out) * op.scale)

    def tangent(self, op: program.Affine, tape: Tape) -> None:
        torch.mul(tape.tangent(op.x), op.scale, out=tape.tangent(op.out))


class Activation(Rule):
    def forward(self, op: program.Activation, tape: Tape) -> None:
        result = derivatives(op.function, tape.value(op.x))
        tape.value(op.out).copy_(result.value)
        tape.derivatives[op.out] = result

    def transpose(self, op: program.Activation, tape: Tape, part: Part) -> None:
        if tape.wants(part, op.x):
            first = tape.derivatives[op.out].first
            tape.add(part, op.x, first * tape.adjoint(part, op.out))

    def tangent(self, op: program.Activation, tape: Tape) -> None:
        first = tape.derivatives[op.out].first
        torch.mul(first, tape.tangent(op.x), out=tape.tangent(op.out))

    def transpose_dual(self, op: program.Activation, tape: Tape) -> None:
        self.transpose(op, tape, Part.VALUE)
        if tape.moves[op.out] and tape.wants(Part.VALUE, op.x):
            bent = tape.derivatives[op.out].second * tape.tangent(op.x)
            tape.add(Part.VALUE, op.x, bent.mul_(tape.adjoint(Part.TANGENT, op.out)))


class Add(Rule):
    def forward(self, op: program.Add, tape: Tape) -> None:
        torch.add(tape.value(op.x), tape.value(op.y), out=tape.value(op.out))

    def transpose(self, op: program.Add, tape: Tape, part: Part) -> None:
        for argument in (op.x, op.y):
            if tape.wants(part, argument):
                tape.add(part, argument, tape.adjoint(part, op.out))

    def tangent(self, op: program.Add, tape: Tape) -> None:
        first, *other = (r for r in (op.x, op.y) if tape.moves[r])
        out = tape.tangent(op.out).copy_(tape.tangent(first))
        for argument in other:
            out.add_(tape.tangent(argument))


class Multiply(Rule):
    def forward(self, op: program.Multiply, tape: Tape) -> None:
        torch.mul(tape.value(op.x), tape.value(op.y), out=tape.value(op.out))

    def transpose(self, op: program.Multiply, tape: Tape, part: Part) -> None:
        for argument, other in ((op.x, op.y), (op.y, op.x)):
            if tape.wants(part, argument):
                tape.add(part, argument, tape.adjoint(part, op.out) * tape.value(other))

    def tangent(self, op: program.Multiply, tape: Tape) -> None:
        pairs = ((op.x, op.y), (op.y, op.x))
        first, *other = (pair for pair in pairs if tape.moves[pair[0]])
        out = torch.mul(tape.tangent(first[0]), tape.value(first[1]), out=tape.tangent(op.out))
        for moving, factor in other:
            out.addcmul_(tape.tangent(moving), tape.value(factor))

    def transpose_dual(self, op: program.Multiply, tape: Tape) -> None:
        self.transpose(op, tape, Part.VALUE)
        if not tape.moves[op.out]:
            return
        for argument, other in ((op.x, op.y), (op.y, op.x)):
            if tape.moves[other] and tape.wants(Part.VALUE, argument):
                a = tape.adjoint(Part.TANGENT, op.out)
                tape.add(Part.VALUE, argument, a * tape.tangent(other))


class SumChannels(Rule):
    dim = -1

    def forward(self, op: program.Operation, tape: Tape) -> None:
        torch.sum(tape.value(op.x), self.dim, keepdim=True, out=tape.value(op.out))

    def transpose(self, op: program.Operation, tape: Tape, part: Part) -> None:
        if tape.wants(part, op.x):
            tape.add(part, op.x, tape.adjoint(part, op.out))

    def tangent(self, op: program.Operation, tape: Tape) -> None:
        torch.sum(tape.tangent(op.x), self.dim, keepdim=True, out=tape.tangent(op.out))


class SumComponents(SumChannels):
    dim = 0


class Slice(Rule):
    def forward(self, op: program.Slice, tape: Tape) -> None:
        out = tape.value(op.out)
        out.copy_(_channels(tape.value(op.x), op.start, out))

    def transpose(self, op: program.Slice, tape: Tape, part: Part) -> None:
        if tape.wants(part, op.x):
            into, first = tape.adjoint_to_fill(part, op.x)
            if first:
                into.zero_()
            adjoint = tape.adjoint(part, op.out)
            _channels(into, op.start, adjoint).add_(adjoint)

    def tangent(self, op: program.Slice, tape: Tape) -> None:
        out = tape.tangent(op.out)
        out.copy_(_channels(tape.tangent(op.x), op.start, out))


class Concatenate(Rule):
    def forward(self, op: program.Concatenate, tape: Tape) -> None:
        torch.cat([tape.value(op.x), tape.value(op.y)], -1, out=tape.value(op.out))

    def transpose(self, op: program.Concatenate, tape: Tape, part: Part) -> None:
        start = 0
        for argument in (op.x, op.y):
            if tape.wants(part, argument):
                like = tape.value(argument)
                tape.add(part, argument, _channels(tape.adjoint(part, op.out), start, like))
            start += tape.value(argument).size(-1)

    def tangent(self, op: program.Concatenate, tape: Tape) -> None:
        start = 0
        for argument in (op.x, op.y):
            part = _channels(tape.tangent(op.out), start, tape.value(argument))
            part.copy_(tape.tangent(argument)) if tape.moves[argument] else part.zero_()
            start += part.size(-1)


def _channels(x: Tensor, start: int, like: Tensor) -> Tensor:
    return x.narrow(-1, start, like.size(-1))
