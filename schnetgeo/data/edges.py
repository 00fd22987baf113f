"""Edges of data that have some: sorted, cut down to a cutoff, compared with the radius graph."""

import copy

import torch
from jaxtyping import Int
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.errors import InputError
from schnetgeo.geometry import batch_index, distances, edge_vectors, num_structures

_TIE = 1e-5  # of the cutoff: whether an edge so near to it is there is a matter of rounding
_REMEDY = (
    "delete edge_index, and the model builds its radius graph, or set edge_cutoff = "
    "torch.tensor([{cutoff}]) beside it to compute on these edges all the same"
)


def reverse_edges(
    edge_index: Int[Tensor, "2 E"], edge_shift: Int[Tensor, "E 3"], num_atoms: int
) -> Int[Tensor, "E"]:
    """For each edge j → i with shift s the position of i → j with shift −s in the sorted list."""
    source, target = edge_index
    return edge_key(target, source, -edge_shift, num_atoms).argsort()


def edge_key(source: Tensor, target: Tensor, shift: Tensor, num_atoms: int) -> Tensor:
    """One integer per edge that sorts by target, source, shift."""
    reach = int(shift.abs().max()) if shift.numel() else 0
    if num_atoms**2 * (2 * reach + 1) ** 3 >= 2**63:
        raise InputError(f"an edge crosses {reach} cells; wrap the atoms into their cell")
    key = target * num_atoms + source
    for k in range(3 if reach else 0):
        key = key * (2 * reach + 1) + (shift[:, k] + reach)
    return key


def shift_or_zero(data: Data) -> Int[Tensor, "E 3"]:
    """The lattice vectors that each edge crosses."""
    shift = data.get("edge_shift")
    return data.edge_index.new_zeros(data.edge_index.size(1), 3) if shift is None else shift


def select_edges(data: Data, which: Int[Tensor, "S"]) -> Data:
    """A copy with these edges, in this order, and without `edge_reverse`."""
    number, data = data.edge_index.size(1), copy.copy(data)
    data.edge_reverse = None
    for key, value in data.to_dict().items():
        if "edge" not in key or key == "edge_cutoff" or not torch.is_tensor(value):
            continue
        axis = 1 if key == "edge_index" else 0
        if value.dim() > axis and value.size(axis) == number:
            data[key] = value.index_select(axis, which)
    return data


def shorter_edges(data: Data, cutoff: float) -> Data:
    """A copy whose edges are those shorter than the cutoff; `data` itself where all are."""
    near = _lengths(data) < cutoff
    if bool(near.all()):
        return data
    reverse, near = data.get("edge_reverse"), near.nonzero().flatten()
    data = select_edges(data, near)
    if reverse is not None:
        place = torch.full_like(reverse, -1)  # where an edge goes that lacks its reverse
        place[near] = torch.arange(near.numel(), device=near.device)
        data.edge_reverse = place[reverse[near]]
    return data


def check_form(data: Data) -> Data:
    """A copy whose `edge_index` and `edge_shift` are int64 and name atoms, or an `InputError`."""
    index, shift, number = data.edge_index, data.get("edge_shift"), data.z.numel()
    _check_integers("edge_index", index)
    if index.dim() != 2 or index.size(0) != 2:
        raise InputError(f"edge_index must have shape (2, E), got {tuple(index.shape)}")
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < number:
        raise InputError(
            f"edge_index must lie in 0 … {number - 1}, the atoms of the batch, got "
            f"{int(index.min())} … {int(index.max())}; count atoms from the first of the batch on"
        )
    data = copy.copy(data)
    data.edge_index, data.edge_reverse = index.long(), None
    if shift is not None:
        _check_integers("edge_shift", shift)
        if shift.shape != (index.size(1), 3):
            raise InputError(
                f"edge_shift must have shape ({index.size(1)}, 3), a row per edge, got "
                f"{tuple(shift.shape)}"
            )
        if bool(shift.any()) and data.get("cell") is None:
            raise InputError("edge_shift counts lattice vectors, but cell is missing; set cell")
        data.edge_shift = shift.long()
    return data


def check_graph(data: Data, graph: tuple[Tensor, Tensor], cutoff: float) -> None:
    """Raise `InputError` unless the edges within the cutoff are those of the radius graph.

    Args:
        data: structures with edges of the form that `check_form` asks for, in any order.
        graph: edge_index and edge_shift of the radius graph, sorted.
        cutoff: r_c in Å.
    """
    number = data.edge_index.size(1)
    index, shift = torch.cat([data.edge_index, graph[0]], 1), shift_or_zero(data)
    key = edge_key(*index, torch.cat([shift, graph[1]]), data.z.numel())
    key, expected = key.split([number, graph[0].size(1)])
    ordered = key.sort().values
    if torch.equal(ordered, expected):
        return
    looped = (data.edge_index[0] == data.edge_index[1]) & (shift == 0).all(1)
    if bool(looped.any()):
        atom = int(data.edge_index[0][looped][0])
        _refuse(f"edge_index joins atom {atom}{_within(data, atom)} to itself", cutoff)
    doubled = (ordered[1:] == ordered[:-1]).nonzero()
    if doubled.numel():
        edge = int((key == ordered[doubled[0, 0]]).nonzero()[0, 0])
        name = _name(data, edge) + _within(data, int(data.edge_index[1, edge]))
        _refuse(f"edge_index has the edge {name} more than once", cutoff)
    safe = cutoff * (1 - _TIE)
    foreign = (_lengths(data) < safe) & ~torch.isin(key, expected)
    if bool(foreign.any()):
        edge = _name(data, int(foreign.nonzero()[0, 0]))
        _refuse(
            f"edge_index has the edge {edge}, which is not in the radius graph: it leads from one "
            "structure of the batch to another, or across a face of the cell that has no period",
            cutoff,
        )
    complete = copy.copy(data).update({"edge_index": graph[0]})
    complete.edge_shift = None if data.get("cell") is None else graph[1]
    length = _lengths(complete)
    missing = (length < safe) & ~torch.isin(expected, key)
    if bool(missing.any()):
        edge = int(missing.nonzero()[0, 0])
        name = _name(complete, edge) + _within(data, int(graph[0][1, edge]))
        _refuse(
            f"edge_index lacks {int(missing.sum())} of the {expected.numel()} edges of the radius "
            f"graph within {cutoff} Å, such as {name}, {float(length[edge]):.3f} "
            "Å long; bonds do, lists cut at a number of neighbors, and crystals without edge_shift",
            cutoff,
        )


def _refuse(what: str, cutoff: float) -> None:
    raise InputError(f"{what}; {_REMEDY.format(cutoff=cutoff)}")


def _within(data: Data, atom: int) -> str:
    """The structure of an atom in words, if there are several."""
    return f" of structure {int(batch_index(data)[atom])}" if num_structures(data) > 1 else ""


def _name(data: Data, edge: int) -> str:
    source, target = data.edge_index[:, edge].tolist()
    shift = shift_or_zero(data)[edge].tolist()
    return f"{source} → {target}" + (f" with edge_shift {shift}" if any(shift) else "")


def _check_integers(name: str, value: Tensor) -> None:
    if not torch.is_tensor(value):
        raise InputError(f"{name} must be a tensor of integers, got {type(value).__name__}")
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise InputError(f"{name} must hold integers, got {value.dtype}; convert it with .long()")


def _lengths(data: Data) -> Tensor:
    """Of the edges, Å, in float64 and without a graph."""
    data = copy.copy(data)
    data.pos = data.pos.detach().double()
    return distances(edge_vectors(data))
