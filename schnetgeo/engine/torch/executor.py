"""Programs run by torch, on any device: atomic values, edge gradients, and the gradient of a loss.

The edge gradients come from a forward pass and its transpose. The gradient of a loss on both
follows from the tangents of that pass: with ṙ and u̇ the loss's gradients for the edge gradients,
the part of ∂L/∂θ that they cause is ∂/∂θ of the derivative of Σ_i w_i y_i along (ṙ, u̇). So the
backward pass carries tangents through the program and transposes Σ ȳ_i y_i + Σ w_i ẏ_i, which is
exact and needs no tape of second order. The adjoints of the tangents are those that gave the edge
gradients: they are kept, not computed again.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from schnetgeo import ops
from schnetgeo.engine import program
from schnetgeo.engine.edges import KnotWeights
from schnetgeo.engine.torch import convolution_rule, local_rules, parameter_rules
from schnetgeo.engine.torch.edge_convolution import EdgeConvolution
from schnetgeo.engine.torch.functions import FORMULAS
from schnetgeo.engine.torch.rule import Rule
from schnetgeo.engine.torch.schedule import Schedule, needs_adjoint
from schnetgeo.engine.torch.tape import Part, Tape

_CONVOLUTION = convolution_rule.FilterConv()
RULES: dict[type, Rule] = {
    program.Embedding: parameter_rules.Embedding(),
    program.Linear: parameter_rules.Linear(),
    program.Scale: parameter_rules.Scale(),
    program.Shift: parameter_rules.Shift(),
    program.Activation: local_rules.Activation(),
    program.Affine: local_rules.Affine(),
    program.Add: local_rules.Add(),
    program.Multiply: local_rules.Multiply(),
    program.SumChannels: local_rules.SumChannels(),
    program.SumComponents: local_rules.SumComponents(),
    program.Slice: local_rules.Slice(),
    program.Concatenate: local_rules.Concatenate(),
    program.FilterConv: _CONVOLUTION,
}


def refusal(model: program.ModelProgram) -> str | None:
    """Why no executor can run a program; `None` if this one can."""
    absent = program.without_rule(model, (*RULES, *FORMULAS))
    return f"no executor has a rule for {absent}" if absent else None


class Tapes(NamedTuple):
    """What the backward pass needs of the forward pass."""

    atoms: Tape
    filters: Tape
    trains_basis: bool


class Result(NamedTuple):
    """Of a forward pass."""

    tapes: Tapes
    values: tuple[Tensor, ...]  # each result of the program (N, components, channels)
    radial: Float[Tensor, "E"] | None  # ∂(Σ_i w_i y_i)/∂r_e
    angular: Float[Tensor, "E 3"] | None  # ∂(Σ_i w_i y_i)/∂u_e


class TorchExecutor:
    """Runs one program.

    Args:
        model: the program of a model.
    """

    def __init__(self, model: program.ModelProgram):
        self.program = model
        self._atoms = Schedule.of(model.atoms, model.atoms.outputs, model.energy)
        convolutions = [o for o in self._atoms.operations if isinstance(o, program.FilterConv)]
        self._used = {o.filter for o in convolutions}
        self._filters = Schedule.of(model.filters, [model.filters.outputs[f] for f in self._used])
        self.is_directed = program.is_directed(convolutions)

    @torch.no_grad()
    def forward(
        self,
        parameters: Sequence[Tensor],
        edges: KnotWeights,
        basis: Float[Tensor, "M+2 K"],
        z: Int[Tensor, "N"],
        atom_weights: Float[Tensor, "N"],
        gradients: bool,
    ) -> Result:
        """Atomic values, and gradients of Σ_i w_i y_i for lengths and unit vectors of edges.

        Args:
            parameters: as the program names them.
            edges: of the batch; with unit vectors, if a convolution has a direction.
            basis: basis functions on the knots.
            z: atomic numbers.
            atom_weights: w_i; y_i is the program's energy.
            gradients: whether those for the edges are wanted.
        """
        filters = Tape(self._filters, parameters, len(basis), basis, with_tangents=False)
        filters.values[0] = basis.contiguous()[None, None]
        for op in self._filters.operations:
            RULES[type(op)].forward(op, filters)

        tape = Tape(self._atoms, parameters, len(z), basis, with_tangents=gradients)
        tape.z = z
        tape.convolution = EdgeConvolution(edges, self._tables(filters), self.is_directed)
        for op in self._atoms.operations:
            RULES[type(op)].forward(op, tape)
        # clones: a tape with the values themselves would keep itself alive
        values = tuple(
            tape.value(output).transpose(0, 1).clone(memory_format=torch.contiguous_format)
            for output in self.program.atoms.outputs
        )
        tapes = Tapes(tape, filters, basis.requires_grad)
        if not gradients:
            return Result(tapes, values, None, None)
        self._transpose(tape, atom_weights)
        return Result(tapes, values, tape.convolution.radial, tape.convolution.angular)

    @torch.no_grad()
    def backward(
        self,
        tapes: Tapes,
        values_bar: Sequence[Tensor],
        radial_bar: Float[Tensor, "E"] | None,
        angular_bar: Float[Tensor, "E 3"] | None,
    ) -> tuple[list[Tensor | None], Tensor | None]:
        """Gradients for parameters that require one, and for the basis on the knots.

        Args:
            tapes: of the forward pass.
            values_bar: gradients for each of the atomic values.
            radial_bar: those for the edge gradients, the same for an edge and its reverse; `None`
                where the forward pass gave none.
            angular_bar: the opposite for an edge's reverse.
        """
        tape, filters, trains_basis = tapes
        filters.gradients = tape.gradients = [None] * len(tape.parameters)
        self._find_needs(tape, filters, trains_basis)
        if any(tape.moves):
            self._carry_tangents(tape, radial_bar, angular_bar)
        tape.convolution.table_gradients = [None] * len(tape.convolution.tables)
        tape.forget_adjoints(Part.VALUE)
        for output, bar in zip(self.program.atoms.outputs, values_bar, strict=True):
            if tape.needs[output]:
                tape.add(Part.VALUE, output, bar.transpose(0, 1))
        self._transpose_dual(self._atoms, tape)
        self._transpose_tables(tape.convolution, filters)
        self._transpose_dual(self._filters, filters)
        basis, unused = filters.adjoint_to_fill(Part.VALUE, 0)
        return tape.gradients, None if unused else basis[0]

    def _tables(self, filters: Tape) -> list[Tensor | None]:
        tables: list[Tensor | None] = [None] * len(self.program.filters.outputs)
        for number in self._used:
            samples = filters.value(self.program.filters.outputs[number])[0]
            tables[number] = samples.new_empty(len(samples) - 2, samples.size(1))
            ops.get_backend(samples).spline_coefficients(samples, tables[number])
        return tables

    def _transpose(self, tape: Tape, atom_weights: Tensor) -> None:
        energy = self.program.energy
        if energy is None or not tape.moves[energy]:
            return
        tape.add(Part.TANGENT, energy, atom_weights[:, None])
        for op in reversed(self._atoms.operations):
            if tape.moves[op.out]:
                if isinstance(op, program.FilterConv):
                    _CONVOLUTION.add_edge_gradients(op, tape)
                RULES[type(op)].transpose(op, tape, Part.TANGENT)

    def _find_needs(self, tape: Tape, filters: Tape, trains_basis: bool) -> None:
        known = [0] if trains_basis else []
        filters.needs = needs_adjoint(self._filters, filters.parameters, known=known)
        trains = [filters.needs[register] for register in self.program.filters.outputs]
        tape.convolution.trains = trains
        tape.needs = needs_adjoint(self._atoms, tape.parameters, filters=trains)

    def _carry_tangents(self, tape: Tape, radial_bar, angular_bar) -> None:
        tape.convolution.set_tangents(radial_bar, angular_bar)
        for op in self._atoms.operations:
            if tape.moves[op.out]:
                RULES[type(op)].tangent(op, tape)

    def _transpose_dual(self, schedule: Schedule, tape: Tape) -> None:
        for op in reversed(schedule.operations):
            if tape.needs[op.out]:
                RULES[type(op)].transpose_dual(op, tape)

    def _transpose_tables(self, convolution: EdgeConvolution, filters: Tape) -> None:
        filters.forget_adjoints(Part.VALUE)
        for register, table in zip(
            self.program.filters.outputs, convolution.table_gradients, strict=True
        ):
            if table is not None:
                bar = table.new_empty(len(table) + 2, table.size(1))
                ops.get_backend(table).spline_coefficients_transpose(table, bar)
                filters.add(Part.VALUE, register, bar)
