"""The radius graph, periodic or not: three backends, the same edges in the same order."""

import copy
import importlib.util
import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.data.validate import completed_cell
from schnetgeo.errors import InputError
from schnetgeo.geometry import batch_index, lattice_vectors, num_structures

BACKENDS = ("torch_cluster", "torch", "vesin")
_CAPACITY = 64  # neighbors per atom to begin with; grows until no atom is full
_PAIRS = 2**24  # candidate pairs that plain torch holds at once
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
            "vesin" (cell lists on the CPU). `None` takes vesin for periodic structures on the CPU,
            else torch-cluster, or torch where that is not installed.

    Returns:
        edge_index, row 0 the source j and row 1 the target i, and edge_shift, in lattice vectors.

    Raises:
        InputError: for a cutoff that is not positive and finite, and an unknown backend.
    """
    if not 0 < cutoff < math.inf:
        raise InputError(f"cutoff must be a positive distance in Å, got {cutoff}")
    periodic = data.get("pbc") is not None and bool(data.pbc.any())
    backend = backend or default_backend(periodic, data.pos.device)
    if backend not in BACKENDS:
        raise InputError(f"unknown neighbor backend {backend!r}; known: {', '.join(BACKENDS)}")
    pos = data.pos.detach().double()
    batch = batch_index(data)
    if backend == "vesin":
        source, target, shift = _vesin(data, pos, batch, cutoff * _SLACK)
    else:
        images = _images(data, pos, batch, cutoff * _SLACK, periodic)
        search = _search_torch_cluster if backend == "torch_cluster" else _search_torch
        source, target, shift = search(pos, batch, *images, cutoff * _SLACK)
    vectors = pos[source] - pos[target]
    if periodic:
        cell = data.cell.detach().double()
        vectors = vectors + lattice_vectors(shift, cell[batch[target]])
    itself = (source == target) & (shift == 0).all(1)
    kept = (vectors.square().sum(1) < cutoff**2) & ~itself
    source, target, shift = source[kept], target[kept], shift[kept]
    order = _edge_key(source, target, shift, pos.size(0)).argsort()
    return torch.stack([source[order], target[order]]), shift[order]


def reverse_edges(
    edge_index: Int[Tensor, "2 E"], edge_shift: Int[Tensor, "E 3"], num_atoms: int
) -> Int[Tensor, "E"]:
    """For each edge j → i with shift s the position of i → j with shift −s in the sorted list."""
    source, target = edge_index
    return _edge_key(target, source, -edge_shift, num_atoms).argsort()


def with_edges(data: Data, cutoff: float, backend: str | None = None) -> Data:
    """The same structures with their radius graph; `data` itself where it has edges already.

    The copy is shallow and carries `edge_index`, `edge_reverse` and, for data with `pbc`,
    `edge_shift`.
    """
    if data.get("edge_index") is not None:
        return data
    edge_index, edge_shift = neighbor_list(data, cutoff, backend)
    data = copy.copy(data)
    data.edge_index = edge_index
    data.edge_reverse = reverse_edges(edge_index, edge_shift, data.z.numel())
    if data.get("pbc") is not None:
        data.edge_shift = edge_shift
    return data


def default_backend(periodic: bool, device: torch.device) -> str:
    """The backend that `neighbor_list` takes by itself."""
    if periodic and device.type == "cpu" and _installed("vesin"):
        return "vesin"
    return "torch_cluster" if _installed("torch_cluster") else "torch"


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _edge_key(source: Tensor, target: Tensor, shift: Tensor, num_atoms: int) -> Tensor:
    """One integer per edge that sorts by target, source, shift."""
    reach = int(shift.abs().max()) if shift.numel() else 0
    key = target * num_atoms + source
    for k in range(3 if reach else 0):
        key = key * (2 * reach + 1) + (shift[:, k] + reach)
    return key


def _images(
    data: Data, pos: Tensor, batch: Tensor, cutoff: float, periodic: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Atoms and their periodic images that can be a neighbor: position, atom, shift.

    Sorted by structure. An image is kept when it lies in the bounding parallelepiped of its
    structure, widened by the cutoff.
    """
    atom = torch.arange(pos.size(0), device=pos.device)
    shift = atom.new_zeros(pos.size(0), 3)
    if not periodic:
        return pos, atom, shift
    cell, _ = completed_cell(data.cell.detach().double(), data.pbc)
    inverse = torch.linalg.inv(cell)
    fractional = torch.bmm(pos.unsqueeze(1), inverse[batch]).squeeze(1)
    index = batch.unsqueeze(1).expand(-1, 3)
    extent = torch.zeros_like(cell[:, 0])
    low = extent.scatter_reduce(0, index, fractional, "amin", include_self=False)
    high = extent.scatter_reduce(0, index, fractional, "amax", include_self=False)
    margin = cutoff * torch.linalg.vector_norm(inverse, dim=1)  # cutoff over the cell's heights
    first = (low - margin)[batch] - fractional
    last = (high + margin)[batch] - fractional
    first = torch.where(data.pbc[batch], first.ceil(), 0.0).long()
    last = torch.where(data.pbc[batch], last.floor(), 0.0).long()
    for k in range(3):
        count = last[atom, k] - first[atom, k] + 1
        step = _counting(count)
        start = first[atom, k].repeat_interleave(count)
        atom, shift = atom.repeat_interleave(count), shift.repeat_interleave(count, dim=0)
        shift[:, k] = start + step
    return pos[atom] + lattice_vectors(shift, data.cell.double()[batch[atom]]), atom, shift


def _search_torch_cluster(
    pos: Tensor, batch: Tensor, image_pos: Tensor, image_atom: Tensor, shift: Tensor, cutoff: float
) -> tuple[Tensor, Tensor, Tensor]:
    from torch_cluster import radius

    image_batch = batch[image_atom]
    largest = int(image_batch.bincount().max()) if image_batch.numel() else 0
    capacity = min(_CAPACITY, largest)
    while True:
        target, image = radius(
            image_pos, pos, cutoff, image_batch, batch, max_num_neighbors=max(capacity, 1)
        )
        fullest = int(target.bincount().max()) if target.numel() else 0
        if fullest < capacity or capacity >= largest:
            return image_atom[image], target, shift[image]
        capacity = min(4 * capacity, largest)


def _search_torch(
    pos: Tensor, batch: Tensor, image_pos: Tensor, image_atom: Tensor, shift: Tensor, cutoff: float
) -> tuple[Tensor, Tensor, Tensor]:
    images = batch[image_atom].bincount(minlength=int(batch.max()) + 1 if batch.numel() else 0)
    start = (images.cumsum(0) - images)[batch]
    count = images[batch]
    blocks = torch.arange(pos.size(0), device=pos.device).split(_rows(count))
    found = []
    for block in blocks:
        target = block.repeat_interleave(count[block])
        image = start[target] + _counting(count[block])
        near = (image_pos[image] - pos[target]).square().sum(1) < cutoff**2
        found.append(torch.stack([image[near], target[near]]))
    image, target = torch.cat(found, dim=1)
    return image_atom[image], target, shift[image]


def _rows(count: Tensor) -> int:
    """Targets whose candidate pairs fit into one block."""
    return max(1, _PAIRS // max(1, int(count.max()) if count.numel() else 1))


def _counting(count: Tensor) -> Tensor:
    """0 … count[0]−1, 0 … count[1]−1, and so on, in one tensor."""
    start = (count.cumsum(0) - count).repeat_interleave(count)
    return torch.arange(start.numel(), device=count.device) - start


def _vesin(data: Data, pos: Tensor, batch: Tensor, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    from vesin import NeighborList

    calculator = NeighborList(cutoff=cutoff, full_list=True)
    num = num_structures(data)
    cells = np.zeros((num, 3, 3)) if data.get("cell") is None else data.cell.double().cpu().numpy()
    pbcs = np.zeros((num, 3), bool) if data.get("pbc") is None else data.pbc.cpu().numpy()
    ends = batch.bincount(minlength=num).cumsum(0).tolist()
    found, begin = [], 0
    for cell, pbc, end in zip(cells, pbcs, ends, strict=True):
        points = pos[begin:end].cpu().numpy()
        i, j, shift = calculator.compute(points=points, box=cell, periodic=pbc, quantities="ijS")
        pairs = np.stack([j.astype(np.int64) + begin, i.astype(np.int64) + begin], axis=1)
        found.append(np.concatenate([pairs, shift.astype(np.int64)], axis=1))
        begin = end
    edges = torch.from_numpy(np.concatenate(found)).to(pos.device)
    return edges[:, 0], edges[:, 1], edges[:, 2:]
