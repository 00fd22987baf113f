"""Neighbors among atoms and their periodic images, by a search that knows nothing of periods."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.geometry import fractional_coordinates, lattice_vectors


def among_images(
    data: Data, pos: Tensor, batch: Tensor, cutoff: float, search: Callable
) -> tuple[Tensor, Tensor, Tensor]:
    """Edges of each atom to atoms and their images: source, target and shift.

    Args:
        data: has `cell` and `pbc` where it is periodic.
        pos: positions (N, 3), float64, Å.
        batch: structure of each atom.
        cutoff: r_c in Å.
        search: finds for each of some points the atoms or images that are near.
    """
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
    coordinates, inverse_height = fractional_coordinates(data, pos, batch)
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
        step = arange_per_group(count)
        atom, shift = atom.repeat_interleave(count), shift.repeat_interleave(count, dim=0)
        shift[:, k] += first[atom, k] + step
    return home, atom, shift


def arange_per_group(count: Tensor) -> Tensor:
    """0 … count[0]−1, 0 … count[1]−1, and so on, in one tensor."""
    start = (count.cumsum(0) - count).repeat_interleave(count)
    return torch.arange(start.numel(), device=count.device) - start
