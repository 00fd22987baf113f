"""The graph of structures: edges built, compared with those that are there, sorted."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.data.edges import (
    check_form,
    check_graph,
    edge_key,
    reverse_edges,
    select_edges,
    shift_or_zero,
    shorter_edges,
)
from schnetgeo.data.neighbors.search import neighbor_list
from schnetgeo.data.shapes import check_type
from schnetgeo.data.structure import Structure
from schnetgeo.data.validate import check_geometry
from schnetgeo.errors import InputError
from schnetgeo.geometry import num_structures
from schnetgeo.ops.backend import get_backend


@torch.compiler.disable
def with_edges(data: Data, cutoff: float, backend: str | None = None, longer: bool = False) -> Data:
    """The same structures with all edges shorter than the cutoff; `data` itself if it has those.

    The copy is shallow and carries `edge_index`, `edge_cutoff`, for data with `pbc` also
    `edge_shift`, and for a `Structure` or a batch also `edge_reverse`.

    Edges that are there stay, in their order. With `edge_cutoff` beside them, the cutoff that
    they were built for, they are taken at their word; without, they are compared with the radius
    graph. Those that are longer than the cutoff are left out.

    Args:
        data: structure or batch with `z`, `pos` and, where periodic, `cell` and `pbc`.
        cutoff: r_c in Å.
        backend: as for `neighbor_list`.
        longer: leave edges in that are longer than the cutoff, for a model that certainly gives
            them the weight 0.

    Raises:
        InputError: where the edges that are there were built for a smaller cutoff (not looked at
            on a GPU with `longer`, which would have to be waited for), or differ from the radius
            graph, and as `neighbor_list`.
    """
    check_type(data)
    if data.get("edge_index") is None:
        return _with_new_edges(data, cutoff, backend)
    reach = data.get("edge_cutoff")
    if reach is None:
        check_geometry(data)
        data = check_form(data)
        check_graph(data, neighbor_list(data, cutoff, backend), cutoff)
        data.edge_cutoff = edge_cutoff(num_structures(data), cutoff).to(data.pos.device)
        return data if longer else shorter_edges(data, cutoff)
    reach = torch.as_tensor(reach)
    if longer and reach.device.type != "cpu":
        return data
    shortest, longest = (float(r) for r in reach.aminmax())
    if not shortest >= cutoff:
        raise InputError(
            f"the edges were built for a cutoff of {shortest} Å, but {cutoff} Å is asked for; "
            "build them for that with with_edges, or delete edge_index and leave them to the model"
        )
    if longer or longest <= cutoff:
        return data
    shorter = shorter_edges(data, cutoff)
    shorter = copy.copy(data) if shorter is data else shorter
    shorter.edge_cutoff = reach.clamp(max=cutoff)
    return shorter


def _with_new_edges(data: Data, cutoff: float, backend: str | None) -> Data:
    edge_index, edge_shift = neighbor_list(data, cutoff, backend)
    data = copy.copy(data)
    data.edge_index = edge_index
    if isinstance(data, Structure) or data.get("ptr") is not None:  # PyG would batch it wrongly
        data.edge_reverse = reverse_edges(edge_index, edge_shift, data.z.numel())
    data.edge_cutoff = edge_cutoff(num_structures(data), cutoff).to(data.pos.device)
    if data.get("pbc") is not None:
        data.edge_shift = edge_shift
    return data


@torch.compiler.disable
def sort_edges(data: Data) -> Data:
    """The same data if its edges are sorted by target, else a copy where they are.

    Edges without `edge_reverse` are sorted by source and shift too, as `reverse_edges` needs them.
    """
    if _is_known_as_sorted(data):
        return data
    shift, reverse = shift_or_zero(data), data.get("edge_reverse")
    data = select_edges(data, edge_key(*data.edge_index, shift, data.z.numel()).argsort())
    if reverse is not None:
        data.edge_reverse = reverse_edges(data.edge_index, shift_or_zero(data), data.z.numel())
    return data


def _is_known_as_sorted(data: Data) -> bool:
    """Whether edges are sorted; a GPU, which would have to be waited for, is not asked.

    There, edges with `edge_reverse` are taken at their word, until `row_pointers` asserts it.
    """
    source, target = data.edge_index
    if data.get("edge_reverse") is not None:
        return target.device.type != "cpu" or get_backend(target).is_sorted(target)
    if target.device.type != "cpu":
        return False
    key = edge_key(source, target, shift_or_zero(data), data.z.numel())
    return get_backend(key).is_sorted(key)


def edge_cutoff(count: int, cutoff: float) -> Float[Tensor, "B"]:
    """The mark of edges built for this cutoff, Å."""
    return torch.full((count,), cutoff, dtype=torch.float64)
