"""Edges of crystals by the cell lists of vesin, on the CPU."""

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.geometry import fractional_coordinates

_MOST_BOXES, _FEWEST_BOXES = 1e5, 4  # in all, and along a lattice vector


def vesin_can(data: Data, pos: Tensor, batch: Tensor, cutoff: float) -> bool:
    """Whether vesin 0.6 survives these cells.

    It divides a cell into boxes as wide as the cutoff; where these are too many, it takes fewer
    along each lattice vector, and the interpreter dies where that leaves none. Without periods it
    fills the way to a far atom with boxes.
    """
    _, inverse_height = fractional_coordinates(data, pos, batch)
    boxes = (1 / (cutoff * inverse_height)).clamp(min=1)
    fewer = (_MOST_BOXES / boxes.prod(1)).clamp(max=1).pow(1 / 3)
    thin = (fewer < 1) & (boxes.amin(1) * fewer < _FEWEST_BOXES)
    return not bool(thin.any())


def search_vesin(
    data: Data, pos: Tensor, batch: Tensor, cutoff: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Source, target and shift of all edges of crystals, one after the other."""
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
