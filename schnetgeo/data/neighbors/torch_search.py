"""Atoms near points in plain torch, on any device."""

import torch
from torch import Tensor

from schnetgeo.data.neighbors.images import arange_per_group
from schnetgeo.geometry import squared_lengths

_MAX_CANDIDATES = 2**18  # candidate pairs that plain torch holds at once


def search_torch(
    pos: Tensor, batch: Tensor, image_pos: Tensor, image_batch: Tensor, cutoff: float
) -> tuple[Tensor, Tensor]:
    """Images that are near atoms, and these atoms; candidates are near along x."""
    # structures laid out along one line, farther apart than the cutoff: candidates are an interval
    gap = image_pos[:, 0].max() - image_pos[:, 0].min() + 2 * cutoff
    line, order = (image_pos[:, 0] + gap * image_batch).sort()
    place = pos[:, 0] + gap * batch
    start = torch.searchsorted(line, place - cutoff)
    count = torch.searchsorted(line, place + cutoff, right=True) - start
    rows = max(1, _MAX_CANDIDATES // max(1, int(count.max())))
    parts = []
    for target in torch.arange(pos.size(0), device=pos.device).split(rows):
        number = count[target]
        target = target.repeat_interleave(number)
        image = order[start[target] + arange_per_group(number)]
        near = squared_lengths(image_pos.index_select(0, image) - pos.index_select(0, target))
        near = near < cutoff * cutoff
        parts.append(torch.stack([image[near], target[near]]))
    image, target = torch.cat(parts, dim=1)
    return image, target
