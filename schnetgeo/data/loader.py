"""Batches in an order that depends on nothing but seed and step."""

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Sampler

from schnetgeo.data.packed import StructureDataset
from schnetgeo.errors import InputError


class InfiniteBatchSampler(Sampler[list[int]]):
    """Batches without end: epoch after epoch, each a new permutation of the data set.

    Batch number k is a function of seed and k alone, so that a training that was interrupted
    after k steps goes on with batch k. With several processes each takes its part of the batch,
    and together they take what one process would.

    Args:
        size: structures in the data set.
        batch_size: structures per step, over all processes together; the last, incomplete batch
            of an epoch is left out.
        seed: of the permutations.
        first: number of the first batch.
        rank: which of the processes this is.
        num_processes: how many there are.

    Raises:
        InputError: if a batch cannot be shared evenly, or there is nothing to train on.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int = 0,
        first: int = 0,
        rank: int = 0,
        num_processes: int = 1,
    ):
        if size < 1 or batch_size < 1:
            raise InputError(
                f"need at least one structure and one per batch, got {size} and {batch_size}"
            )
        self.batch_size = min(batch_size, size)
        if self.batch_size % num_processes:
            raise InputError(
                f"batch_size={self.batch_size} cannot be shared by {num_processes} processes; "
                f"choose a multiple of {num_processes}"
            )
        self.size, self.seed, self.first = size, seed, first
        self.rank, self.num_processes = rank, num_processes

    def __iter__(self) -> Iterator[list[int]]:
        per_epoch = self.size // self.batch_size
        epoch, position = divmod(self.first, per_epoch)
        while True:
            generator = torch.Generator().manual_seed(self.seed + 1_000_003 * epoch)
            order = torch.randperm(self.size, generator=generator)
            for batch in order.split(self.batch_size)[position:per_epoch]:
                yield batch[self.rank :: self.num_processes].tolist()
            epoch, position = epoch + 1, 0


class Loader(DataLoader):
    """Batches of a data set, cut from it at once instead of collated from single structures.

    Args:
        dataset: what to take batches from.
        order: how, in a word or two, for people.
        **options: as for `torch.utils.data.DataLoader`.
    """

    def __init__(self, dataset: StructureDataset, order: str, **options):
        super().__init__(range(len(dataset)), collate_fn=dataset.batch, **options)
        self.order = order

    def __repr__(self) -> str:
        size = self.batch_size or self.batch_sampler.batch_size
        return f"Loader({len(self.dataset)} structures, batch_size={size}, {self.order})"


def train_loader(dataset: StructureDataset, batch_size: int, **options) -> Loader:
    """Endless shuffled batches; options as for `InfiniteBatchSampler`."""
    batches = InfiniteBatchSampler(len(dataset), batch_size, **options)
    return Loader(dataset, f"shuffled without end, seed={batches.seed}", batch_sampler=batches)


def ordered_loader(dataset: StructureDataset, batch_size: int) -> Loader:
    """All structures once, in order, the last batch as small as it comes."""
    return Loader(dataset, "in order", batch_size=batch_size)


def shuffled_loader(dataset: StructureDataset, batch_size: int, seed: int = 0) -> Loader:
    """All structures once per iteration, each time in another order."""
    generator = torch.Generator().manual_seed(seed)
    return Loader(
        dataset, f"shuffled, seed={seed}", batch_size=batch_size, shuffle=True, generator=generator
    )
