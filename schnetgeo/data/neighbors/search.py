"""The radius graph, periodic or not: three backends, the same edges in the same order."""

import functools
import importlib
import math

import torch
from jaxtyping import Int
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.data.edges import edge_key
from schnetgeo.data.neighbors.images import among_images
from schnetgeo.data.neighbors.torch_cluster_search import search_torch_cluster
from schnetgeo.data.neighbors.torch_search import search_torch
from schnetgeo.data.neighbors.vesin_search import search_vesin, vesin_can
from schnetgeo.data.validate import check_geometry
from schnetgeo.errors import InputError
from schnetgeo.geometry import batch_index, fractional_coordinates, lattice_vectors, squared_lengths

BACKENDS = ("torch_cluster", "torch", "vesin")
_MAX_EDGES = 2**31  # edges that no memory holds
_SEARCH_MARGIN = 1 + 1e-5  # backends search a little farther, one float64 test decides


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
    if backend == "vesin" and not (crystals and vesin_can(data, pos, batch, cutoff)):
        backend = default_backend(False, data.pos.device)
    search = {"torch_cluster": search_torch_cluster, "torch": search_torch}.get(backend)
    if search is None:
        source, target, shift = search_vesin(data, pos, batch, cutoff * _SEARCH_MARGIN)
    else:
        source, target, shift = among_images(data, pos, batch, cutoff * _SEARCH_MARGIN, search)
    vectors = pos.index_select(0, source) - pos.index_select(0, target)
    if periodic:
        cell = data.cell.detach().double().index_select(0, batch.index_select(0, target))
        vectors = vectors + lattice_vectors(shift, cell)
    itself = (source == target) & (shift == 0).all(1)
    near = (squared_lengths(vectors) < cutoff * cutoff) & ~itself
    source, target, shift = source[near], target[near], shift[near]
    order = edge_key(source, target, shift, pos.size(0)).argsort()
    return torch.stack([source[order], target[order]]), shift[order]


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


def _check_number(data: Data, pos: Tensor, batch: Tensor, cutoff: float) -> None:
    """Refuse a cutoff that spans more periodic images than memory can hold."""
    _, inverse_height = fractional_coordinates(data, pos, batch)
    images = torch.where(data.pbc, 2 * cutoff * inverse_height, 1.0).prod(1)
    edges = float((batch.bincount() ** 2 * images).sum())
    if edges > _MAX_EDGES:
        raise InputError(
            f"cutoff = {cutoff} Å would give up to {edges:.0e} edges to periodic images; "
            "take a smaller cutoff"
        )
