"""Functions that move, cut, join, and sum the axes of values."""

from schnetgeo.engine.lowering import messages
from schnetgeo.engine.lowering.values import (
    Constant,
    Draft,
    Features,
    Index,
    Message,
    NotLowered,
    Place,
    Value,
    describe,
    features,
    normal,
)


def insert(x: Value, dim: int) -> Value:
    """A dimension of size one before `dim`, which counts those of the result."""
    if isinstance(x, Constant | Index):
        return x
    axes = _axes(x)
    dim %= len(axes) + 1
    return x._replace(axes=axes[:dim] + "1" + axes[dim:])


def remove(x: Value, dim: int) -> Value:
    """Without a dimension of size one; another stays."""
    if isinstance(x, Constant | Index):
        return x
    axes = _axes(x)
    dim %= len(axes)
    return x._replace(axes=axes[:dim] + axes[dim + 1 :]) if axes[dim] == "1" else x


def swap(x: Value, a: int, b: int) -> Value:
    """Two dimensions exchanged."""
    if isinstance(x, Constant):
        return x
    axes = list(_axes(x))
    axes[a], axes[b] = axes[b], axes[a]
    return x._replace(axes="".join(axes))


def permute(x: Value, dims: tuple[int, ...]) -> Value:
    """Dimensions in another order."""
    if isinstance(x, Constant):
        return x
    axes = _axes(x)
    return x._replace(axes="".join(axes[dim] for dim in dims))


def reshape(x: Value, old: tuple[int, ...], new: tuple[int, ...]) -> Value:
    """The same numbers where only dimensions of size one come and go."""
    if isinstance(x, Constant):
        return x
    letters = [axis for axis in _axes(x) if axis != "1"]
    if [n for n in old if n != 1] != [n for n in new if n != 1]:
        raise NotLowered(f"changes the shape {old} to {new}")
    left = iter(letters)
    return x._replace(axes="".join("1" if n == 1 else next(left) for n in new))


def expand(draft: Draft, x: Value, old: tuple[int, ...], new: tuple[int, ...]) -> Value:
    """One channel repeated for all."""
    if isinstance(x, Constant):
        return x
    axes = _axes(x).rjust(len(new), "1")
    old = (1,) * (len(new) - len(old)) + old
    wider = [dim for dim, sizes in enumerate(zip(old, new, strict=True)) if sizes[0] != sizes[1]]
    if not wider:
        return x._replace(axes=axes)
    if wider != [len(new) - 1] or "f" in axes:
        raise NotLowered(f"expands the shape {old} to {new}")
    axes = axes[:-1] + "f"
    if isinstance(x, Message):
        ones = messages.of(Features(Place.EDGE, draft.filters.constant(1.0, new[-1]), "f"))
        return messages.multiply(draft, x._replace(axes=axes), ones)
    return Features(x.place, draft.builder(x.place).spread(x.register, new[-1]), axes)


def slice_channels(draft: Draft, x: Value, dim: int, start: int, channels: int) -> Value:
    """Channels start … start + channels."""
    if isinstance(x, Constant):
        return x
    axes = _axes(x)
    dim %= len(axes)
    if axes[dim] not in "f1":
        raise NotLowered(f"takes a part of {'atoms' if axes[dim] == 'r' else 'components'}")
    if axes[dim] == "1":
        return x
    narrow = axes[:dim] + ("f" if channels > 1 else "1") + axes[dim + 1 :]
    if isinstance(x, Message):
        return messages.slice(draft, x, start, channels)._replace(axes=narrow)
    register = draft.builder(x.place).slice(x.register, start, channels)
    return Features(x.place, register, narrow)


def concatenate(draft: Draft, parts: list[Value], sizes: list[int], dim: int) -> Value:
    """Channels of all parts, one after the other."""
    known = [part for part in parts if not isinstance(part, Constant)]
    if not known:
        raise NotLowered("concatenates constants")
    first = features(draft, known[0], "concatenates")
    builder = draft.builder(first.place)
    dim %= len(first.axes)
    registers = []
    for part, channels in zip(parts, sizes, strict=True):
        if isinstance(part, Constant):
            registers.append(builder.constant(part.number, channels))
            continue
        part = features(draft, part, "concatenates")
        alike = part.place is first.place and len(part.axes) == len(first.axes)
        if not alike or part.axes[dim] not in "f1" or ("f" in part.axes[:dim]):
            raise NotLowered(f"concatenates {describe(part)} and {describe(first)}")
        registers.append(part.register)
    if len({builder.is_vector(register) for register in registers}) > 1:
        raise NotLowered("concatenates vectors and scalars")
    total = registers[0]
    for register in registers[1:]:
        total = builder.concatenate(total, register)
    return Features(first.place, total, first.axes[:dim] + "f" + first.axes[dim + 1 :])


def sum_over(draft: Draft, x: Value, dims: tuple[int, ...], keep: bool) -> Value:
    """Σ over channels, components, or both."""
    axes = _axes(x)
    dims = {dim % len(axes) for dim in dims}
    summed = "".join(axes[dim] for dim in sorted(dims))
    if "r" in summed:
        raise NotLowered("sums over atoms or edges")
    rest = "".join(
        "1" if dim in dims else axis for dim, axis in enumerate(axes) if keep or dim not in dims
    )
    if isinstance(x, Message):
        if summed != "c":
            raise NotLowered(f"sums channels of {describe(x)}")
        return Message(messages.sum_components(draft, x), rest)
    builder, register = draft.builder(x.place), x.register
    if "c" in summed:
        register = builder.sum_components(register)
    if "f" in summed:
        register = builder.sum_channels(register)
    return normal(draft, x.place, register, rest)


def gather(x: Value, index: Value, dim: int) -> Value:
    """Features of the atom at either end of each edge."""
    if isinstance(x, Constant):
        return x
    ends = {Index.SOURCE: Place.SOURCE, Index.TARGET: Place.TARGET}
    if not isinstance(x, Features) or x.place is not Place.ATOM or index not in ends:
        raise NotLowered(f"takes rows of {describe(x)} by {describe(index)}")
    if x.axes[dim] != "r":
        raise NotLowered("takes channels by an index of atoms")
    return x._replace(place=ends[index])


def _axes(x: Value) -> str:
    if isinstance(x, Features | Message):
        return x.axes
    raise NotLowered(f"changes the dimensions of {describe(x)}")
