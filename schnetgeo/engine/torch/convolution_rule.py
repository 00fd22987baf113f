"""Rule of the convolution with a filter."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from schnetgeo.engine import program
from schnetgeo.engine.torch.edge_convolution import Term, terms
from schnetgeo.engine.torch.rule import Rule
from schnetgeo.engine.torch.tape import Part, Tape


class FilterConv(Rule):
    def forward(self, op: program.FilterConv, tape: Tape) -> None:
        x, out = tape.value(op.x), tape.value(op.out)
        for index, (source, target, axis) in enumerate(_terms(op, tape)):
            write = partial(tape.convolution.conv, x[source], op.filter, axis)
            _accumulate(out[target], index == target, 1, write)

    def transpose(self, op: program.FilterConv, tape: Tape, part: Part) -> None:
        if not tape.wants(part, op.x):
            return
        adjoint, (into, first) = tape.adjoint(part, op.out), tape.adjoint_to_fill(part, op.x)
        for index, (source, target, axis) in enumerate(_terms(op, tape)):
            write = partial(tape.convolution.conv, adjoint[target], op.filter, axis)
            _accumulate(into[source], first and index == source, _sign(axis), write)

    def add_edge_gradients(self, op: program.FilterConv, tape: Tape) -> None:
        """Add to the gradients for lengths and unit vectors."""
        x, a = tape.value(op.x), tape.adjoint(Part.TANGENT, op.out)
        for source, target, axis in _terms(op, tape):
            tape.convolution.add_edge_gradient(x[source], a[target], op.filter, axis)

    def tangent(self, op: program.FilterConv, tape: Tape) -> None:
        x, out, convolution = tape.value(op.x), tape.tangent(op.out), tape.convolution
        for index, (source, target, axis) in enumerate(_terms(op, tape)):
            if tape.moves[op.x]:
                arguments = x[source], tape.tangent(op.x)[source]
                write = partial(convolution.conv_tangent, *arguments, op.filter, axis)
            else:
                write = partial(convolution.conv_moved, x[source], op.filter, axis)
            _accumulate(out[target], index == target, 1, write)

    def transpose_dual(self, op: program.FilterConv, tape: Tape) -> None:
        if tape.moves[op.out]:
            self._transpose_pair(op, tape)
        else:
            self.transpose(op, tape, Part.VALUE)
        if tape.convolution.trains[op.filter]:
            self._add_table_gradients(op, tape)

    def _transpose_pair(self, op: program.FilterConv, tape: Tape) -> None:
        """Transpose b by the weights, and a by their tangents."""
        if not tape.wants(Part.VALUE, op.x):
            return
        a, b = (tape.adjoint(part, op.out) for part in (Part.TANGENT, Part.VALUE))
        into, first = tape.adjoint_to_fill(Part.VALUE, op.x)
        for index, (source, target, axis) in enumerate(_terms(op, tape)):
            arguments = a[target], b[target], op.filter, axis
            write = partial(tape.convolution.conv_tangent, *arguments)
            _accumulate(into[source], first and index == source, _sign(axis), write)

    def _add_table_gradients(self, op: program.FilterConv, tape: Tape) -> None:
        v, b = tape.value(op.x), tape.adjoint(Part.VALUE, op.out)
        for source, target, axis in _terms(op, tape):
            pair, where = (v[source], b[target]), (op.filter, axis)
            if not tape.moves[op.out]:
                tape.convolution.add_table_gradient(*pair, *where)
                continue
            t = tape.tangent(op.x)[source] if tape.moves[op.x] else torch.zeros_like(v[source])
            a = tape.adjoint(Part.TANGENT, op.out)[target]
            tape.convolution.add_table_gradient_tangent(*pair, t, a, *where)


def _terms(op: program.FilterConv, tape: Tape) -> tuple[Term, ...]:
    return terms(op.direction, tape.value(op.x).size(0))


def _sign(axis: int | None) -> int:
    """Of the weights of an edge's reverse."""
    return 1 if axis is None else -1


def _accumulate(into: Tensor, fresh: bool, sign: int, write: Callable[..., None]) -> None:
    """Overwrite a tensor by what a function writes to `out`, or add it."""
    if fresh:
        write(out=into)
        if sign < 0:
            into.neg_()
    else:
        term = torch.empty_like(into)
        write(out=term)
        into.add_(term, alpha=sign)
