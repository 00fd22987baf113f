"""Atoms near points by torch-cluster, on any device."""

from torch import Tensor

_INITIAL_NEIGHBORS = 64  # neighbors per atom to begin with; grows until no atom is full


def search_torch_cluster(
    pos: Tensor, batch: Tensor, image_pos: Tensor, image_batch: Tensor, cutoff: float
) -> tuple[Tensor, Tensor]:
    """Images that are near atoms, and these atoms; asked again until no list is full."""
    from torch_cluster import radius

    largest = int(image_batch.bincount().max())
    capacity = min(_INITIAL_NEIGHBORS, largest)
    while True:
        target, image = radius(
            image_pos, pos, cutoff, image_batch, batch, max_num_neighbors=capacity
        )
        fullest = int(target.bincount().max()) if target.numel() else 0
        if fullest < capacity or capacity >= largest:
            return image, target
        capacity = min(4 * capacity, largest)
