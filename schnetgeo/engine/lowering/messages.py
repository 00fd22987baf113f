"""Messages as sums of products a(x_i) ⊙ b(x_j) ⊙ W(r) [⊙ u], and their sum over neighbors.

A sum over neighbors of such a product is a ⊙ FilterConv(b): what depends on one atom alone is
computed once for each atom.
"""

from schnetgeo.engine.lowering.builder import Builder
from schnetgeo.engine.lowering.values import (
    Draft,
    Features,
    Message,
    NotLowered,
    Place,
    Term,
    Value,
    broadcast,
    describe,
)
from schnetgeo.engine.program import Direction

_MOST_TERMS = 64
_FACTOR = {Place.TARGET: "target", Place.SOURCE: "source", Place.EDGE: "filter"}


def of(x: Features) -> Message:
    """Features of edges as a message of one term."""
    return Message((Term(**{_FACTOR[x.place]: x.register}),), x.axes)


def unit_vector() -> Message:
    """The unit vector of each edge, (E, 3)."""
    return Message((Term(has_unit=True),), "rc")


def cutoff_function() -> Message:
    """f(r) of each edge, (E,)."""
    return Message((Term(cutoffs=1),), "r")


def affine(x: Message, scale: float, shift: float) -> Message:
    terms = tuple(term._replace(scale=scale * term.scale) for term in x.terms)
    return x._replace(terms=terms + (Term(scale=shift),) * (shift != 0))


def add(x: Message, y: Message) -> Message:
    return Message(_few(x.terms + y.terms), broadcast(x.axes, y.axes))


def multiply(draft: Draft, x: Message, y: Message) -> Message:
    terms = tuple(_product(draft, a, b) for a in x.terms for b in _few(y.terms))
    return Message(_few(terms), broadcast(x.axes, y.axes))


def slice(draft: Draft, x: Message, start: int, channels: int) -> Message:
    """Channels start … start + channels of each factor that has several."""

    def part(builder: Builder, register: int | None) -> int | None:
        if register is None or builder.channels(register) == 1:
            return register
        return builder.slice(register, start, channels)

    return x._replace(terms=tuple(_each_factor(draft, term, part) for term in x.terms))


def sum_components(draft: Draft, x: Message) -> tuple[Term, ...]:
    """Terms of Σ_c x_c: products of two vectors are marked, of one it is summed at once."""
    return tuple(_contracted(draft, term) for term in x.terms)


def sum_over_neighbors(draft: Draft, x: Value) -> Features:
    """Σ_{e: j→i} of a message that carries the cutoff function once."""
    if isinstance(x, Features) and x.place is not Place.ATOM:
        x = of(x)
    if not isinstance(x, Message):
        raise NotLowered(f"sums {describe(x)} over neighbors")
    if any(term.cutoffs != 1 for term in x.terms):
        raise NotLowered(
            f"sums {describe(x)} over neighbors, where each term must carry the cutoff function "
            "f(r) = edge_weight once"
        )
    atoms = draft.atoms
    parts = [_convolution(draft, term) for term in _merged(draft, x.terms)]
    total = parts[0]
    for part in parts[1:]:
        total = atoms.add(total, part)
    if atoms.is_vector(total) != ("c" in x.axes) or (atoms.channels(total) > 1) != ("f" in x.axes):
        raise NotLowered(f"sums {describe(x)} over neighbors, which has other axes than {x.axes}")
    return Features(Place.ATOM, total, x.axes)


def _few(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    if len(terms) > _MOST_TERMS:
        raise NotLowered(f"makes a sum of more than {_MOST_TERMS} products on the edges")
    return terms


def _product(draft: Draft, a: Term, b: Term) -> Term:
    if a.has_unit and b.has_unit:
        raise NotLowered("multiplies two unit vectors of an edge")
    for x, y in ((a, b), (b, a)):
        if x.contracted and (y.contracted or y.has_unit or _has_vector(draft, y)):
            raise NotLowered("multiplies a scalar product on the edges by another vector")
    return Term(
        a.scale * b.scale,
        _both(draft.atoms, a.target, b.target),
        _both(draft.atoms, a.source, b.source),
        _both(draft.filters, a.filter, b.filter),
        a.has_unit or b.has_unit,
        a.contracted or b.contracted,
        a.cutoffs + b.cutoffs,
    )


def _both(builder: Builder, x: int | None, y: int | None) -> int | None:
    if x is None or y is None:
        return y if x is None else x
    return builder.multiply(x, y)


def _each_factor(draft: Draft, term: Term, change) -> Term:
    return term._replace(
        target=change(draft.atoms, term.target),
        source=change(draft.atoms, term.source),
        filter=change(draft.filters, term.filter),
    )


def _is_vector(draft: Draft, register: int | None) -> bool:
    return register is not None and draft.atoms.is_vector(register)


def _has_vector(draft: Draft, term: Term) -> bool:
    return _is_vector(draft, term.target) or _is_vector(draft, term.source)


def _contracted(draft: Draft, term: Term) -> Term:
    vectors = _is_vector(draft, term.target), _is_vector(draft, term.source)
    if term.contracted or sum(vectors) + term.has_unit not in (1, 2):
        raise NotLowered("sums components of a product that has other than one or two vectors")
    if sum(vectors) + term.has_unit == 2:
        return term._replace(contracted=True)
    if term.has_unit:
        raise NotLowered("sums the components of an edge's unit vector")
    if vectors[0]:
        return term._replace(target=draft.atoms.sum_components(term.target))
    return term._replace(source=draft.atoms.sum_components(term.source))


def _merged(draft: Draft, terms: tuple[Term, ...]) -> list[Term]:
    """The same sum with fewer convolutions: terms that differ in W alone, or in b(x_j) alone."""
    terms = _merged_by(draft.filters, "filter", terms)
    return _merged_by(draft.atoms, "source", terms)


def _merged_by(builder: Builder, factor: str, terms: list[Term]) -> list[Term]:
    groups: dict[Term, list[Term]] = {}
    for term in terms:
        register = getattr(term, factor)
        shape = None if register is None else builder.registers[register]
        key = term._replace(**{factor: shape}, scale=1.0)
        groups.setdefault(key, []).append(term)
    merged = []
    for group in groups.values():
        if len(group) == 1 or getattr(group[0], factor) is None:
            merged += group
            continue
        parts = [builder.affine(getattr(term, factor), term.scale) for term in group]
        total = parts[0]
        for part in parts[1:]:
            total = builder.add(total, part)
        merged.append(group[0]._replace(**{factor: total}, scale=1.0))
    return merged


def _convolution(draft: Draft, term: Term) -> int:
    atoms, filters = draft.atoms, draft.filters
    filter = filters.constant(1.0) if term.filter is None else term.filter
    source = atoms.constant(1.0) if term.source is None else term.source
    channels = max(filters.channels(filter), atoms.channels(source))
    if term.target is not None and term.source is None and term.filter is None:
        channels = atoms.channels(term.target)
    filter, source = filters.spread(filter, channels), atoms.spread(source, channels)
    direction = _direction(draft, term)
    y = atoms.filter_conv(source, filter, direction)
    if term.target is not None:
        y = atoms.multiply(y, term.target)
    if term.contracted and direction is not Direction.DIVERGENCE:
        y = atoms.sum_components(y)
    return atoms.affine(y, term.scale)


def _direction(draft: Draft, term: Term) -> Direction:
    if not term.has_unit:
        return Direction.NONE
    if not _is_vector(draft, term.source):
        return Direction.GRADIENT
    if term.contracted and not _is_vector(draft, term.target):
        return Direction.DIVERGENCE
    raise NotLowered("multiplies an edge's unit vector and a vector of x_j component by component")
