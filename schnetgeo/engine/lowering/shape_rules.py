"""What functions of torch that move, cut, join, gather, and sum rows write to a program."""

from schnetgeo.engine.lowering import axes, messages
from schnetgeo.engine.lowering.arithmetic import add, affine
from schnetgeo.engine.lowering.layer_rules import dims_of, embedding
from schnetgeo.engine.lowering.values import (
    Constant,
    Features,
    Index,
    NotLowered,
    Weight,
    describe,
)


def unsqueeze(call, x, dim):
    return axes.insert(x, dim)


def squeeze(call, x, dim=None):
    if dim is None:
        raise NotLowered("squeezes all dimensions, also that of a single atom; name the dimension")
    dims = sorted((d % len(call.shape(x)) for d in dims_of(call, x, dim)), reverse=True)
    for each in dims:
        x = axes.remove(x, each)
    return x


def reshape(call, x, *shape, **_):
    if isinstance(x, Index):
        return x
    return axes.reshape(x, call.shape(x), call.new_shape)


def expand(call, x, *shape, **_):
    if isinstance(x, Index):
        return x
    return axes.expand(call.draft, x, call.shape(x), call.new_shape)


def transpose(call, x, dim0, dim1):
    return axes.swap(x, dim0, dim1)


def permute(call, x, *dims):
    return axes.permute(x, dims[0] if isinstance(dims[0], tuple | list) else dims)


def pieces(call, x, size, dim=0):
    """torch.chunk and torch.split: the sizes are those of torch's own result."""
    pieces, start = [], 0
    for shape in call.piece_shapes:
        channels = shape[dim]
        pieces.append(axes.slice_channels(call.draft, x, dim, start, channels))
        start += channels
    return tuple(pieces)


def narrow(call, x, dim, start, length):
    return axes.slice_channels(call.draft, x, dim, start, length)


def concatenate(call, tensors, dim=0):
    sizes = [call.shape(part)[dim] for part in tensors]
    return axes.concatenate(call.draft, list(tensors), sizes, dim)


def getitem(call, x, index):
    parts = index if isinstance(index, tuple) else (index,)
    if x is Index.EDGE_INDEX and len(parts) == 1 and isinstance(parts[0], int):
        return (Index.SOURCE, Index.TARGET)[parts[0]]
    if isinstance(x, Weight) and parts == (Index.ATOMIC_NUMBER,):
        return embedding(call, parts[0], x)
    if isinstance(parts[0], Index) and parts[1:] in ((), (Ellipsis,)):
        return axes.gather(x, parts[0], 0)
    if isinstance(x, Index) and not all(p in (None, slice(None), Ellipsis) for p in parts):
        raise NotLowered(f"takes a part of {describe(x)}")
    if isinstance(x, Index | Constant):
        return x
    shape = call.shape(x)
    used = sum(part is not None and part is not Ellipsis for part in parts)
    full = (slice(None),) * (len(shape) - used)
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts = parts[:at] + full + parts[at + 1 :]
    dim = 0
    for part in parts:
        x, dim = _item(call, x, dim, part)
    return x


def _item(call, x, dim, part):
    """One part of an index, and the dimension of the next."""
    if part is None:
        return axes.insert(x, dim), dim + 1
    size = call.shape(x)[dim]
    if isinstance(part, slice):
        start, stop, step = part.indices(size)
        if (start, stop, step) == (0, size, 1):
            return x, dim + 1
        if step == 1 and stop > start:
            return axes.slice_channels(call.draft, x, dim, start, stop - start), dim + 1
    elif isinstance(part, int) and not isinstance(part, bool):
        x = axes.slice_channels(call.draft, x, dim, part % size, 1)
        return axes.remove(x, dim), dim
    raise NotLowered(f"takes the part {part!r} of a dimension")


def unbind(call, x, dim=0):
    if x is Index.EDGE_INDEX and dim == 0:
        return Index.SOURCE, Index.TARGET
    channels = range(len(call.piece_shapes))
    parts = (axes.slice_channels(call.draft, x, dim, channel, 1) for channel in channels)
    return tuple(axes.remove(part, dim) for part in parts)


def index_select(call, x, dim, index):
    return axes.gather(x, index, dim)


def sum_edges(call, x, dim, index, source, alpha=1):
    if index is not Index.TARGET or dim not in (0, -len(call.new_shape)):
        raise NotLowered(f"sums over edges by {describe(index)}, not by their target")
    if call.new_shape[0] != call.num_atoms:
        raise NotLowered("sums edges to other rows than atoms")
    if alpha != 1:
        source = affine(call.draft, source, alpha)
    if isinstance(source, Constant) and source.number == 0:
        return x
    total = messages.sum_over_neighbors(call.draft, source)
    if isinstance(x, Constant | Features):
        return add(call.draft, total, x)
    raise NotLowered(f"adds a sum over neighbors to {describe(x)}")


def same(call, x, *args, **kwargs):
    return x


def new(number):
    def rule(call, *args, **kwargs):
        return Constant(number, call.new_shape)

    return rule


def full(call, *args, fill_value=None, **kwargs):
    number = args[-1] if fill_value is None else fill_value
    return Constant(float(number), call.new_shape)


def number(call, data, **kwargs):
    if not isinstance(data, int | float):
        raise NotLowered("makes a tensor of several numbers; register it as a buffer")
    return Constant(float(data), ())
