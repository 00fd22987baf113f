"""What an executor can compute: operations on arrays with one row per atom.

A register is an array of one pass, (N, F) for scalar features or (N, 3, F) for vector features.
Registers, parameters and filters are named by their positions. Each register is written by one
operation, after those that it reads.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple


class Register(NamedTuple):
    """Shape of a register: (N, channels), or (N, 3, channels) where `components` is 3."""

    channels: int
    components: int = 1


class Function(IntEnum):
    """A smooth function of each number."""

    SHIFTED_SOFTPLUS = 0  # ln(½ eˣ + ½)
    SILU = 1
    SIGMOID = 2
    TANH = 3
    SOFTPLUS = 4
    GELU = 5  # x Φ(x)
    SQRT = 6
    RSQRT = 7
    RECIPROCAL = 8
    EXP = 9
    SQUARE = 10


class Direction(IntEnum):
    """What a convolution does with the unit vector u of an edge."""

    NONE = 0  # y_i = Σ_j W x_j, for each component alike
    GRADIENT = 1  # y_ic = Σ_j W u_c x_j, from scalars to vectors
    DIVERGENCE = 2  # y_i = Σ_j Σ_c W u_c x_jc, from vectors to scalars


@dataclass(frozen=True)
class Embedding:
    """out = weight[z], weight (Z, F)."""

    out: int
    weight: int


@dataclass(frozen=True)
class Linear:
    """out = x weightᵀ + bias + residual, weight (out, in); a vector's components one by one."""

    out: int
    x: int
    weight: int
    bias: int | None = None
    residual: int | None = None


@dataclass(frozen=True)
class Activation:
    """out = function(x), number by number."""

    out: int
    x: int
    function: Function


@dataclass(frozen=True)
class Affine:
    """out = scale · x + shift, two constants."""

    out: int
    x: int
    scale: float
    shift: float = 0.0


@dataclass(frozen=True)
class Scale:
    """out = x ⊙ weight, weight (F,)."""

    out: int
    x: int
    weight: int


@dataclass(frozen=True)
class Shift:
    """out = x + bias, bias (F,)."""

    out: int
    x: int
    bias: int


@dataclass(frozen=True)
class Add:
    """out = x + y; one channel or one component of either counts for all of the other's."""

    out: int
    x: int
    y: int


@dataclass(frozen=True)
class Multiply:
    """out = x ⊙ y; one channel or one component of either counts for all of the other's."""

    out: int
    x: int
    y: int


@dataclass(frozen=True)
class SumChannels:
    """out = Σ_f x_f, (N, 1) or (N, 3, 1)."""

    out: int
    x: int


@dataclass(frozen=True)
class SumComponents:
    """out = Σ_c x_c, (N, F) from (N, 3, F)."""

    out: int
    x: int


@dataclass(frozen=True)
class Slice:
    """out = x[..., start : start + channels of out]."""

    out: int
    x: int
    start: int


@dataclass(frozen=True)
class Concatenate:
    """out = [x, y] along the channels."""

    out: int
    x: int
    y: int


@dataclass(frozen=True)
class FilterConv:
    """out_i = Σ_{e: j→i} f(r_e) W(r_e) ⊙ x_j, with u_e as `direction` says; W is a filter."""

    out: int
    x: int
    filter: int
    direction: Direction = Direction.NONE


Operation = (
    Embedding | Linear | Activation | Affine | Scale | Shift | Add | Multiply | SumChannels
    | SumComponents | Slice | Concatenate | FilterConv
)  # fmt: skip


class Program(NamedTuple):
    """Operations in order, and the registers that are their results.

    The program of a model's atoms begins with `Embedding`s. The program of its filters runs on
    knots instead of atoms; its register 0 holds the basis functions, and it has a result,
    (M + 2, F), for each filter, without the cutoff function.
    """

    registers: tuple[Register, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[int, ...]


class ModelProgram(NamedTuple):
    """A model: the program of its atoms, and that of the filters of their convolutions.

    Both read the same list of parameters.
    """

    atoms: Program
    filters: Program
    energy: int | None  # the result, (N, 1), whose sum over a structure has edge gradients


def inputs(operation: Operation) -> tuple[int, ...]:
    """The registers that an operation reads."""
    names = ("x", "y", "residual")
    return tuple(r for name in names if (r := getattr(operation, name, None)) is not None)


def parameters(operation: Operation) -> tuple[int, ...]:
    """The parameters that an operation reads."""
    names = ("weight", "bias")
    return tuple(p for name in names if (p := getattr(operation, name, None)) is not None)


def without_rule(model: ModelProgram, rules: Collection[type | Function]) -> str | None:
    """The operations and functions of a model that are not among these; `None` if all are."""
    kinds: dict[type | Function, str] = {}
    for operation in (*model.atoms.operations, *model.filters.operations):
        kinds[type(operation)] = type(operation).__name__
        if isinstance(operation, Activation):
            kinds[operation.function] = operation.function.name
    return ", ".join(sorted(name for kind, name in kinds.items() if kind not in rules)) or None


def has_tangent(program: Program, energy: int | None) -> tuple[bool, ...]:
    """Whether each register depends on the edges, and the register `energy` on it."""
    moves, counts = [False] * len(program.registers), _read_by(program, [energy])
    for operation in program.operations:
        convolves = isinstance(operation, FilterConv)
        moves[operation.out] = convolves or any(moves[r] for r in inputs(operation))
    return tuple(moves[register] and register in counts for register in range(len(moves)))


def is_directed(operations: Iterable[Operation]) -> bool:
    """Whether a convolution looks at the directions of edges."""
    convolutions = (o for o in operations if isinstance(o, FilterConv))
    return any(o.direction is not Direction.NONE for o in convolutions)


def live_operations(program: Program, outputs: Iterable[int]) -> tuple[Operation, ...]:
    """The operations that some registers depend on, in order."""
    live = _read_by(program, outputs)
    return tuple(operation for operation in program.operations if operation.out in live)


def _read_by(program: Program, outputs: Iterable[int | None]) -> set[int | None]:
    """These registers, and all that they depend on."""
    live = set(outputs)
    for operation in reversed(program.operations):
        if operation.out in live:
            live.update(inputs(operation))
    return live
