"""What a tensor of a model's forward stands for while the engine reads it.

The axes of a value are a text with a letter for each dimension: "r" rows (atoms or edges), "c" the
three components of a vector, "f" channels, "1" a dimension of size one. "rcf" is (N, 3, F). Axes
may come in any order; a register always holds rows, components, channels.
"""

from enum import Enum
from typing import NamedTuple

from schnetgeo.engine.lowering.builder import Builder, Parameters
from schnetgeo.engine.program import Function, Register


class NotLowered(Exception):
    """What a model does that no program says. The message follows the name of the module."""


class Place(Enum):
    """What the rows of a value are."""

    ATOM = "an atom's features"
    TARGET = "x_i"  # atoms, once for each edge that ends there
    SOURCE = "x_j"  # atoms, once for each edge that starts there
    EDGE = "W(r)"  # functions of the distance


class Features(NamedTuple):
    """A register, seen from atoms or edges."""

    place: Place
    register: int
    axes: str


class Term(NamedTuple):
    """scale · target(x_i) ⊙ source(x_j) ⊙ filter(r) ⊙ unit vector · f(r)^cutoffs on an edge."""

    scale: float = 1.0
    target: int | None = None
    source: int | None = None
    filter: int | None = None
    has_unit: bool = False
    contracted: bool = False  # the product is summed over its components
    cutoffs: int = 0


class Message(NamedTuple):
    """A sum of terms on the edges."""

    terms: tuple[Term, ...]
    axes: str


class Weight(NamedTuple):
    """A parameter or buffer of the model, after functions of each number."""

    number: int
    shape: tuple[int, ...]
    steps: tuple[Function | tuple[float, float], ...] = ()  # functions, or scale and shift


class Constant(NamedTuple):
    """The same number everywhere."""

    number: float
    shape: tuple[int, ...]


class Index(Enum):
    """Integers of the graph."""

    ATOMIC_NUMBER = "z"
    EDGE_INDEX = "edge_index"
    SOURCE = "edge_index[0]"
    TARGET = "edge_index[1]"


Value = Features | Message | Weight | Constant | Index


class Draft:
    """The two programs of a model while they are written.

    Args:
        num_basis: K, channels of register 0 of the filters.
    """

    def __init__(self, num_basis: int):
        self.parameters = Parameters()
        self.atoms = Builder()
        self.filters = Builder(Register(num_basis))

    def builder(self, place: Place) -> Builder:
        return self.filters if place is Place.EDGE else self.atoms

    def message_channels(self, message: Message) -> int:
        """Channels of the widest factor."""
        factors = [
            builder.channels(register)
            for term in message.terms
            for builder, register in (
                (self.atoms, term.target),
                (self.atoms, term.source),
                (self.filters, term.filter),
            )
            if register is not None
        ]
        return max(factors, default=1)


def features(draft: Draft, value: Value, verb: str) -> Features:
    """The value itself, if it is one register.

    Raises:
        NotLowered: for another value; says what was done to it.
    """
    if isinstance(value, Features):
        return value
    raise NotLowered(f"{verb} {describe(value)}")


def describe(value: object) -> str:
    """The kind of a value, in words."""
    match value:
        case Features(place):
            return place.value
        case Message(terms):
            return " + ".join(map(_product, terms)) + (
                ", a sum of products a(x_i) b(x_j) W(r) that only the sum over neighbors may follow"
            )
        case Weight():
            return "a parameter"
        case Constant(number):
            return f"the constant {number:g}"
        case Index():
            return value.value
    return f"a {type(value).__name__}"


def _product(term: Term) -> str:
    parts = [f"{term.scale:g}"] * (term.scale != 1 or term == Term())
    parts += [f"f(r)^{term.cutoffs}" if term.cutoffs > 1 else "f(r)"] * (term.cutoffs > 0)
    parts += ["a(x_i)"] * (term.target is not None) + ["b(x_j)"] * (term.source is not None)
    parts += ["W(r)"] * (term.filter is not None) + ["u"] * term.has_unit
    return " ".join(parts)


def broadcast(a: str, b: str) -> str:
    """Axes of a sum or product, by the rules of torch.

    Raises:
        NotLowered: for axes of different meaning that have the same size.
    """
    width = max(len(a), len(b))
    pairs = zip(a.rjust(width, "1"), b.rjust(width, "1"), strict=True)
    axes = "".join(x if y == "1" else y if x in ("1", y) else "?" for x, y in pairs)
    if any(axes.count(letter) > 1 for letter in "rcf") or "?" in axes:
        raise NotLowered(f"combines dimensions of different meaning ({a} and {b})")
    return axes


def normal(draft: Draft, place: Place, register: int, axes: str) -> Features:
    """Features whose axes have no letter for a channel or component that is the only one."""
    builder = draft.builder(place)
    if builder.channels(register) == 1:
        axes = axes.replace("f", "1")
    return Features(place, register, axes)
