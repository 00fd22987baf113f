"""Atoms of one structure in one place."""

import itertools

import torch
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.errors import InputError
from schnetgeo.geometry import batch_index, fractional_coordinates, lattice_vectors, locate_atom

MIN_DISTANCE = 1e-3  # Å; closer atoms are "in one place"
_MOST_STEPS = 64  # neighbors along a line that are compared
_PRIMES = (73_856_093, 19_349_663, 83_492_791)  # spread boxes over keys
_GENERIC_DIRECTION = (0.5377, 0.7124, 0.4509)  # along which no crystal has its atoms in layers


def check_overlaps(data: Data, ptr: Tensor, where: str) -> None:
    """Raise `InputError` if two atoms of one structure, or their images, are in one place."""
    """Raise `InputError` if two atoms of one structure, or their images, are in one place."""
    batch, pos = batch_index(data), data.pos.double()
    atom = torch.arange(batch.numel(), device=batch.device)
    periodic = data.get("pbc") is not None and bool(data.pbc.any())
    if periodic:
        atom, pos = _wrapped(data, pos, batch)
    pair = _close_pair(pos, batch[atom])
    if pair is not None:
        a, b = sorted(atom[pair].tolist())
        (structure, i), (_, j) = locate_atom(a, ptr), locate_atom(b, ptr)
        raise InputError(
            f"{where}, structure {structure}: atoms {i} and {j} are in one place, closer than "
            f"{MIN_DISTANCE} Å: {data.pos[a].tolist()} and {data.pos[b].tolist()} Å"
            f"{', or periodic images of these' if periodic else ''}; remove one"
        )


def _wrapped(data: Data, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Atoms moved into the cell, and again just above it where they are just above its floor."""
    coordinates, inverse_height = fractional_coordinates(data, pos, batch)
    atom = torch.arange(batch.numel(), device=batch.device)
    shift = torch.where(data.pbc[batch], -coordinates.floor(), 0.0)
    for k in range(3):
        structure = batch[atom]
        margin = MIN_DISTANCE * inverse_height[structure, k]
        near = (coordinates[atom, k] + shift[:, k] < margin) & data.pbc[structure, k]
        step = shift.new_zeros(3)
        step[k] = 1
        atom, shift = torch.cat([atom, atom[near]]), torch.cat([shift, shift[near] + step])
    return atom, pos[atom] + lattice_vectors(shift, data.cell.double()[batch[atom]])


def _close_pair(pos: Tensor, batch: Tensor) -> Tensor | None:
    """Two points of one structure closer than `MIN_DISTANCE`, if there are any.

    Such points are close along every line too, so neighbors along one that is askew to all
    crystals are compared, then second neighbors, until none is close. Points in a plane across
    the line would all be neighbors: they are compared within the boxes of a grid.
    """
    line = pos @ pos.new_tensor(_GENERIC_DIRECTION)
    order = line.argsort()
    order = order[batch[order].argsort(stable=True)]
    for step in range(1, min(order.numel(), _MOST_STEPS)):
        first, second = order[:-step], order[step:]
        near = (line[second] - line[first] < MIN_DISTANCE) & (batch[first] == batch[second])
        if not near.any():
            return None
        pair = _first_close(pos, first[near], second[near])
        if pair is not None:
            return pair
    return _close_pair_in_boxes(pos, batch) if order.numel() > _MOST_STEPS else None


def _close_pair_in_boxes(pos: Tensor, batch: Tensor) -> Tensor | None:
    """The same by eight grids, half a box apart along each axis: a close pair shares one box.

    A box is 2 · `MIN_DISTANCE` wide, so it has no room for many points that are not close.
    """
    for corner in itertools.product((0, 1), repeat=3):
        box = (pos / MIN_DISTANCE + pos.new_tensor(corner)).div(2).floor().long()
        # boxes that share a key by accident cost time, and no pair is lost
        key = (box * box.new_tensor(_PRIMES)).sum(1) + batch * _PRIMES[0] ** 2
        key, order = key.sort()
        for step in range(1, order.numel()):
            same = key[step:] == key[:-step]
            if not same.any():
                break
            first, second = order[:-step][same], order[step:][same]
            together = batch[first] == batch[second]
            pair = _first_close(pos, first[together], second[together])
            if pair is not None:
                return pair
    return None


def _first_close(pos: Tensor, first: Tensor, second: Tensor) -> Tensor | None:
    """The first of these pairs that is closer than `MIN_DISTANCE`."""
    distance = torch.linalg.vector_norm(pos[first] - pos[second], dim=1)
    close = (distance < MIN_DISTANCE).nonzero()
    return torch.stack([first[close[0, 0]], second[close[0, 0]]]) if close.numel() else None
