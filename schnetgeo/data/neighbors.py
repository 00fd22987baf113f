"""The radius graph, periodic or not: three backends, the same edges in the same order."""

import copy
import functools
import importlib
import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
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
from schnetgeo.data.structure import Structure
from schnetgeo.data.validate import check_geometry, check_type, fractional
from schnetgeo.errors import InputError
from schnetgeo.geometry import batch_index, lattice_vectors, num_structures
from schnetgeo.ops.backend import get_backend

BACKENDS = ("torch_cluster", "torch", "vesin")
_CAPACITY = 64  # neighbors per atom to begin with; grows until no atom is full
_PAIRS = 2**18  # candidate pairs that plain torch holds at once
_MOST = 2**31  # edges that no memory holds
_MOST_BOXES, _FEWEST_BOXES = 1e5, 4  # in all, and along a lattice vector, for vesin
_SLACK = 1 + 1e-5  # backends search a little farther, one float64 test decides


def neighbor_list(
    data: Data, cutoff: float, backend: str | None = None
) -> tuple[Int[Tensor, "2 E"], Int[Tensor, "E 3"]]:
    """All directed edges j → i with |pos[j] + shift · cell − pos[i]| < cutoff.

    Edges are sorted by target i, then source j, then shift; an atom has no edge to itself but
    may have edges to its own periodic images. No neighbor is ever left out. The three backends
    return the same edges in the same order.

    Args:
        data: structure or batch with `z`, `pos` and, where periodic, `cell` and `pbc`.
        cutoff: r_c in Å.
        backend: "torch_cluster" (any device), "torch" (any device, no compiled package) or
            "vesin" (cell lists on the CPU). `None` takes vesin where it can, else torch-cluster, or
            torch where that is not installed. Vesin can where all structures are periodic in all
            directions and no cell is both thin and some 10,000 Å long; elsewhere the others stand
            in.

    Returns:
        edge_index, row 0 the source j and row 1 the target i, and edge_shift, in lattice vectors.

    Raises:
        InputError: for a cutoff that is not positive and finite, or reaches too many periodic
            images; for a backend that is unknown or not installed; for shapes that disagree,
            positions that are not finite, and periodic cells without volume.
    """
    if not 0 < cutoff < math.inf:
        raise InputError(f"cutoff must be a positive distance in Å, got {cutoff}")
    check_geometry(data)
    periodic = data.get("pbc") is not None and bool(data.pbc.any())
    crystals = periodic and bool(data.pbc.all())
    backend = backend or default_backend(crystals, data.pos.device)
    if backend not in BACKENDS:
        raise InputError(f"unknown neighbor backend {backend!r}; known: {', '.join(BACKENDS)}")
    if not _installed(backend):
        raise InputError(
            f"backend {backend!r} is not installed; see schnetgeo doctor, or take 'torch'"
        )
    pos = data.pos.detach().double()
    batch = batch_index(data)
    if periodic:
        _check_number(data, pos, batch, cutoff)
    if backend == "vesin" and not (crystals and _vesin_can(data, pos, batch, cutoff)):
        backend = default_backend(False, data.pos.device)
    search = {"torch_cluster": _search_torch_cluster, "torch": _search_torch}.get(backend)
    if search is None:
        source, target, shift = _vesin(data, pos, batch, cutoff * _SLACK)
    else:
        source, target, shift = _among_images(data, pos, batch, cutoff * _SLACK, search)
    vectors = pos.index_select(0, source) - pos.index_select(0, target)
    if periodic:
        cell = data.cell.detach().double().index_select(0, batch.index_select(0, target))
        vectors = vectors + lattice_vectors(shift, cell)
    itself = (source == target) & (shift == 0).all(1)
    near = (_squared(vectors) < cutoff * cutoff) & ~itself
    source, target, shift = source[near], target[near], shift[near]
    order = edge_key(source, target, shift, pos.size(0)).argsort()
    return torch.stack([source[order], target[order]]), shift[order]


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
def sorted_edges(data: Data) -> Data:
    """The same data if its edges are sorted by target, else a copy where they are.

    Edges without `edge_reverse` are sorted by source and shift too, as `reverse_edges` needs them.
    Not looked at on a GPU, which would have to be waited for.
    """
    source, target = data.edge_index
    if target.device.type != "cpu":
        return data
    reverse = data.get("edge_reverse")
    if reverse is not None and get_backend(target).is_sorted(target):
        return data
    key = edge_key(source, target, shift_or_zero(data), data.z.numel())
    if reverse is None and get_backend(key).is_sorted(key):
        return data
    data = select_edges(data, key.argsort())
    if reverse is not None:
        data.edge_reverse = reverse_edges(data.edge_index, shift_or_zero(data), data.z.numel())
    return data


def edge_cutoff(count: int, cutoff: float) -> Float[Tensor, "B"]:
    """The mark of edges built for this cutoff, Å."""
    return torch.full((count,), cutoff, dtype=torch.float64)


def default_backend(crystals: bool, device: torch.device) -> str:
    """The backend for structures of which all, or not all, are periodic in all directions."""
    if crystals and device.type == "cpu" and _installed("vesin"):
        return "vesin"
    return "torch_cluster" if _installed("torch_cluster") else "torch"


@functools.cache
def _installed(package: str) -> bool:
    """Whether a package can be imported; one compiled for another torch cannot."""
    try:
        importlib.import_module(package)
    except (ImportError, OSError, RuntimeError):
        return False
    return True


def _squared(vectors: Tensor) -> Tensor:
    """x² + y² + z², the same to the last bit for −r as for r, and faster than a sum over three."""
    x, y, z = vectors.unbind(1)
    return x * x + y * y + z * z


def _check_number(data: Data, pos: Tensor, batch: Tensor, cutoff: float) -> None:
    """Refuse a cutoff that spans more periodic images than memory can hold."""
    _, inverse_height = fractional(data, pos, batch)
    images = torch.where(data.pbc, 2 * cutoff * inverse_height, 1.0).prod(1)
    edges = float((batch.bincount() ** 2 * images).sum())
    if edges > _MOST:
        raise InputError(
            f"cutoff = {cutoff} Å would give up to {edges:.0e} edges to periodic images; "
            "take a smaller cutoff"
        )


def _among_images(
    data: Data, pos: Tensor, batch: Tensor, cutoff: float, search: Callable
) -> tuple[Tensor, Tensor, Tensor]:
    """Edges by a search that knows nothing of periods, among the atoms and their images."""
    if data.get("pbc") is None or not bool(data.pbc.any()):
        source, target = search(pos, batch, pos, batch, cutoff)
        return source, target, source.new_zeros(source.numel(), 3)
    home, atom, shift = _images(data, pos, batch, cutoff)
    cell, image_batch = data.cell.detach().double(), batch[atom]
    points = pos - lattice_vectors(home, cell[batch])
    image_pos = pos[atom] + lattice_vectors(shift, cell[image_batch])
    image, target = search(points, batch, image_pos, image_batch, cutoff)
    return atom[image], target, shift[image] + home[target]


def _images(data: Data, pos: Tensor, batch: Tensor, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    """The cell (N, 3) that each atom is in; then the atom and shift of each image to search.

    The images are those that can be a neighbor of an atom moved back from its cell to the first,
    however far it had strayed: they lie in the bounding parallelepiped of the atoms moved back,
    widened by the cutoff. Sorted by structure.
    """
    coordinates, inverse_height = fractional(data, pos, batch)
    pbc, margin = data.pbc[batch], cutoff * inverse_height
    home = torch.where(pbc, coordinates.floor(), 0.0)
    coordinates = coordinates - home
    index = batch.unsqueeze(1).expand(-1, 3)
    extent = torch.zeros_like(margin)
    low = extent.scatter_reduce(0, index, coordinates, "amin", include_self=False)
    high = extent.scatter_reduce(0, index, coordinates, "amax", include_self=False)
    first = torch.where(pbc, ((low - margin)[batch] - coordinates).ceil(), 0.0).long()
    last = torch.where(pbc, ((high + margin)[batch] - coordinates).floor(), 0.0).long()
    home = home.long()
    atom, shift = torch.arange(pos.size(0), device=pos.device), -home
    for k in range(3):
        count = (last - first + 1)[atom, k]
        step = _arange_per_group(count)
        atom, shift = atom.repeat_interleave(count), shift.repeat_interleave(count, dim=0)
        shift[:, k] += first[atom, k] + step
    return home, atom, shift


def _search_torch_cluster(
    pos: Tensor, batch: Tensor, image_pos: Tensor, image_batch: Tensor, cutoff: float
) -> tuple[Tensor, Tensor]:
    from torch_cluster import radius

    largest = int(image_batch.bincount().max())
    capacity = min(_CAPACITY, largest)
    while True:
        target, image = radius(
            image_pos, pos, cutoff, image_batch, batch, max_num_neighbors=capacity
        )
        fullest = int(target.bincount().max()) if target.numel() else 0
        if fullest < capacity or capacity >= largest:
            return image, target
        capacity = min(4 * capacity, largest)


def _search_torch(
    pos: Tensor, batch: Tensor, image_pos: Tensor, image_batch: Tensor, cutoff: float
) -> tuple[Tensor, Tensor]:
    # structures laid out along one line, farther apart than the cutoff: candidates are an interval
    gap = image_pos[:, 0].max() - image_pos[:, 0].min() + 2 * cutoff
    line, order = (image_pos[:, 0] + gap * image_batch).sort()
    place = pos[:, 0] + gap * batch
    start = torch.searchsorted(line, place - cutoff)
    count = torch.searchsorted(line, place + cutoff, right=True) - start
    rows = max(1, _PAIRS // max(1, int(count.max())))
    parts = []
    for target in torch.arange(pos.size(0), device=pos.device).split(rows):
        number = count[target]
        target = target.repeat_interleave(number)
        image = order[start[target] + _arange_per_group(number)]
        near = _squared(image_pos.index_select(0, image) - pos.index_select(0, target))
        near = near < cutoff * cutoff
        parts.append(torch.stack([image[near], target[near]]))
    image, target = torch.cat(parts, dim=1)
    return image, target


def _arange_per_group(count: Tensor) -> Tensor:
    """0 … count[0]−1, 0 … count[1]−1, and so on, in one tensor."""
    start = (count.cumsum(0) - count).repeat_interleave(count)
    return torch.arange(start.numel(), device=count.device) - start


def _vesin_can(data: Data, pos: Tensor, batch: Tensor, cutoff: float) -> bool:
    """Whether vesin 0.6 survives these cells.

    It divides a cell into boxes as wide as the cutoff; where these are too many, it takes fewer
    along each lattice vector, and the interpreter dies where that leaves none. Without periods it
    fills the way to a far atom with boxes.
    """
    _, inverse_height = fractional(data, pos, batch)
    boxes = (1 / (cutoff * inverse_height)).clamp(min=1)
    fewer = (_MOST_BOXES / boxes.prod(1)).clamp(max=1).pow(1 / 3)
    thin = (fewer < 1) & (boxes.amin(1) * fewer < _FEWEST_BOXES)
    return not bool(thin.any())


def _vesin(data: Data, pos: Tensor, batch: Tensor, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    from vesin import NeighborList

    calculator = NeighborList(cutoff=cutoff, full_list=True)
    ends = batch.bincount().cumsum(0).tolist()
    parts, begin = [], 0
    for cell, end in zip(data.cell.detach().double().cpu().numpy(), ends, strict=True):
        points = pos[begin:end].cpu().numpy()
        i, j, shift = calculator.compute(points=points, box=cell, periodic=True, quantities="ijS")
        pairs = np.stack([j.astype(np.int64) + begin, i.astype(np.int64) + begin], axis=1)
        parts.append(np.concatenate([pairs, shift.astype(np.int64)], axis=1))
        begin = end
    edges = torch.from_numpy(np.concatenate(parts)).to(pos.device)
    return edges[:, 0], edges[:, 1], edges[:, 2:]
