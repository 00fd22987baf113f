"""A tabulated program as one flat module of plain torch, for programs that run no Python of ours.

Nothing in it but index_select, cubic polynomials, matrix products and index_add.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from schnetgeo.engine import program as p
from schnetgeo.engine.plain import apply
from schnetgeo.geometry import distances
from schnetgeo.ops.torch_backend import SMALLEST


class Edges(NamedTuple):
    """Edges j → i of a graph, and all filters on them."""

    target: Int[Tensor, "E"]
    source: Int[Tensor, "E"]
    unit: Float[Tensor, "E 3 1"]
    filters: Sequence[Float[Tensor, "E 1 F"]]


class FlatModel(nn.Module):
    """Values y_i of atoms from atomic numbers and the vectors of their edges.

    Args:
        program: of a model's atoms.
        energy: the register (N, 1) of y.
        parameters: the tensors that the program reads; copied.
        tables: spline coefficients (M, F) of f(r) W(r) for each filter, on knots from −1 on.
        spacing: h of the knots, Å.
        cutoff: Å.
    """

    def __init__(
        self,
        program: p.Program,
        energy: int,
        parameters: Sequence[Tensor],
        tables: Sequence[Tensor],
        spacing: float,
        cutoff: float,
    ):
        super().__init__()
        self.operations = p.live_operations(program, [energy])
        self.program, self.energy = program, energy
        self.spacing, self.cutoff = spacing, cutoff
        self.parameter_numbers = sorted({k for o in self.operations for k in p.parameters(o)})
        for k in self.parameter_numbers:
            self.register_buffer(f"parameter{k}", parameters[k].detach().clone())
        self.widths = [table.size(1) for table in tables]
        self.register_buffer("polynomials", polynomials(torch.cat(list(tables), 1)))

    def forward(
        self,
        z: Int[Tensor, "N"],
        target: Int[Tensor, "E"],
        source: Int[Tensor, "E"],
        vectors: Float[Tensor, "E 3"],
    ) -> Float[Tensor, "N"]:
        """Values y of the atoms, differentiable in `vectors`.

        Args:
            z: atomic numbers.
            target, source: atoms i and j of each edge.
            vectors: pos[j] − pos[i], with the lattice vector where the edge crosses cells, Å.
        """
        distance = distances(vectors)
        unit = vectors / distance.clamp(min=SMALLEST).unsqueeze(1)
        edges = Edges(target, source, unit.unsqueeze(2), self._filters(distance))
        parameters = {k: self.get_buffer(f"parameter{k}") for k in self.parameter_numbers}
        registers: dict[int, Tensor] = {}
        for op in self.operations:
            if isinstance(op, p.Embedding):
                rows = parameters[op.weight].index_select(0, z)
                registers[op.out] = rows.unsqueeze(1)
            elif isinstance(op, p.FilterConv):
                register = self.program.registers[op.out]
                registers[op.out] = convolve(op, registers[op.x], edges, register)
            else:
                registers[op.out] = apply(op, registers, parameters, self.program)
        return registers[self.energy].flatten()

    def _filters(self, distance: Float[Tensor, "E"]) -> list[Float[Tensor, "E 1 F"]]:
        u, last = distance * (1 / self.spacing), self.polynomials.size(0) - 1
        interval = u.detach().long().clamp(max=last - 1)
        interval = torch.where(distance < self.cutoff, interval, torch.full_like(interval, last))
        t = (u - interval).unsqueeze(1).unsqueeze(1)
        rows = self.polynomials.index_select(0, interval)
        a, b, c, d = (rows.narrow(1, k, 1) for k in range(4))
        values, filters, start = ((d * t + c) * t + b) * t + a, [], 0
        for width in self.widths:
            filters.append(values.narrow(2, start, width))
            start += width
        return filters


def convolve(op: p.FilterConv, x: Tensor, edges: Edges, out: p.Register) -> Tensor:
    """Σ_{e: j→i} f(r_e) W(r_e) ⊙ x_j, with the unit vector as the operation says."""
    message = edges.filters[op.filter] * x.index_select(0, edges.source)
    if op.direction is not p.Direction.NONE:
        message = message * edges.unit
    if op.direction is p.Direction.DIVERGENCE:
        message = message.sum(1, keepdim=True)
    zeros = x.new_zeros((x.size(0), out.components, out.channels))
    return zeros.index_add(0, edges.target, message)


def polynomials(coefficients: Float[Tensor, "M F"]) -> Float[Tensor, "M-2 4 F"]:
    """Powers of t in each interval of a cubic B-spline, and 0 for a last one, beyond the cutoff.

    W(k h + t h) = Σ_n a_kn tⁿ, if the first coefficient belongs to the knot −1.
    """
    c0, c1, c2, c3 = (coefficients[q : len(coefficients) - 3 + q].double() for q in range(4))
    powers = (
        (c0 + 4 * c1 + c2) / 6,
        (c2 - c0) / 2,
        (c0 - 2 * c1 + c2) / 2,
        (c3 - 3 * c2 + 3 * c1 - c0) / 6,
    )
    rows = torch.stack(powers, 1).to(coefficients.dtype)
    return torch.cat([rows, torch.zeros_like(rows[:1])])
