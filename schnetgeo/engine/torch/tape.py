"""The registers of one pass of the torch executor: values, tangents and their adjoints."""

from collections.abc import Sequence
from enum import IntEnum

from torch import Tensor

from schnetgeo.engine.torch.edge_convolution import EdgeConvolution
from schnetgeo.engine.torch.functions import Derivatives
from schnetgeo.engine.torch.schedule import Schedule


class Part(IntEnum):
    """Of a register: its value, or how it changes when the edges do."""

    VALUE = 0
    TANGENT = 1


class Tape:
    """Registers of one pass, and the gradients of the parameters.

    A register is an array (C, N, F) with C = 1 or 3 components, so that torch's broadcasting is
    that of the program. Its value and tangent lie in one tensor (2, C, N, F), and so do the
    adjoints of both, b and a: a weight's gradient b_yᵀ v_x + a_yᵀ t_x is then one product.

    Args:
        schedule: of the operations.
        parameters: as the program names them.
        rows: number N of atoms or knots.
        like: a tensor of the type and device of the registers.
        with_tangents: whether registers that depend on the edges get tangents.
    """

    def __init__(
        self,
        schedule: Schedule,
        parameters: Sequence[Tensor],
        rows: int,
        like: Tensor,
        with_tangents: bool,
    ):
        count = len(schedule.program.registers)
        self.parameters = parameters
        self.moves = schedule.moves if with_tangents else (False,) * count
        self.values: list[Tensor | None] = [None] * count
        self.adjoints: list[Tensor | None] = [None] * count
        self.derivatives: dict[int, Derivatives] = {}  # of activations, by their results
        self.convolution: EdgeConvolution | None = None
        self.z: Tensor | None = None
        self.needs: Sequence[bool] = (False,) * count  # whether b leads to a gradient
        self.gradients: list[Tensor | None] = []
        self._registers, self._rows, self._like = schedule.program.registers, rows, like
        self._filled: set[tuple[Part, int]] = set()

    def value(self, register: int) -> Tensor:
        """The value v (C, N, F), to be written by the operation that the register belongs to."""
        return self._part(self.values, Part.VALUE, register)

    def tangent(self, register: int) -> Tensor:
        """The tangent t (C, N, F) of a register that moves."""
        return self._part(self.values, Part.TANGENT, register)

    def adjoint(self, part: Part, register: int) -> Tensor:
        """The adjoint b of a value, or a of the tangent of a register that moves."""
        return self._part(self.adjoints, part, register)

    def wants(self, part: Part, register: int) -> bool:
        """Whether the adjoint of a part is of use."""
        return self.moves[register] if part is Part.TANGENT else self.needs[register]

    def adjoint_to_fill(self, part: Part, register: int) -> tuple[Tensor, bool]:
        """An adjoint, and whether it is to be overwritten, since nothing was added to it yet."""
        first = (part, register) not in self._filled
        self._filled.add((part, register))
        return self.adjoint(part, register), first

    def add(self, part: Part, register: int, term: Tensor) -> None:
        """Add to an adjoint, summed or repeated where the operation broadcast."""
        adjoint, first = self.adjoint_to_fill(part, register)
        if term.numel() > adjoint.numel():
            term = term.sum_to_size(adjoint.shape)
        if first:
            adjoint.copy_(term)
        else:
            adjoint.add_(term)

    def add_gradient(self, parameter: int, term: Tensor) -> None:
        """Add to the gradient of a parameter."""
        total = self.gradients[parameter]
        self.gradients[parameter] = term if total is None else total.add_(term)

    def trains(self, parameter: int | None) -> bool:
        """Whether the gradient of a parameter is asked for."""
        return parameter is not None and self.parameters[parameter].requires_grad

    def forget_adjoints(self, part: Part) -> None:
        """Let adjoints be overwritten, for another reverse pass."""
        self._filled = {key for key in self._filled if key[0] is not part}

    def _part(self, tensors: list[Tensor | None], part: Part, register: int) -> Tensor:
        if tensors[register] is None:
            channels, components = self._registers[register]
            shape = 1 + self.moves[register], components, self._rows, channels
            tensors[register] = self._like.new_empty(shape)
        return tensors[register][part]
