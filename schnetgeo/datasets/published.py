"""What published data sets share: stores of what was read once, and the splits of their authors."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.split import Split
from schnetgeo.data.split_methods import random_split
from schnetgeo.data.store import OnDiskDataset
from schnetgeo.data.store_writer import write_on_disk
from schnetgeo.errors import InputError


def cached(
    folder: Path,
    name: str,
    parts: Callable[[], Iterable[StructureDataset]],
    aliases: Mapping[str, str] | None = None,
) -> OnDiskDataset:
    """The store of a published data set, written with what `parts` reads when it is not there.

    Args:
        folder: that holds the store.
        name: of the store.
        parts: reads the structures.
        aliases: further names of fields, such as {"energy": "U0"}.

    Raises:
        InputError: what `parts` raises, or why it cannot be written; then there is no store.
    """
    path = folder / f"{name}.store"
    try:
        if not path.exists():
            write_on_disk(path, parts(), wait=True)
    except InputError:
        if not path.exists():  # else another process has written it meanwhile
            raise
    return OnDiskDataset(path, aliases)


class PublishedSplit(NamedTuple):
    """Structures that authors meant for training, for validation (if they did) and for tests."""

    train: Int[Tensor, "T"]
    test: Int[Tensor, "S"]
    val: Int[Tensor, "V"] | None = None


def sample_split(
    dataset: StructureDataset,
    num_train: int,
    num_val: int,
    num_test: int | None = None,
    seed: int = 0,
) -> Split:
    """A random choice within the published pools of a data set, or of all its structures.

    Args:
        dataset: with `pools`, such as ISO17 or a split of revised MD17, or without.
        num_train: structures to train on.
        num_val: structures to validate on, of their own pool or of that for training.
        num_test: structures to test on; `None` is all that are meant for it.
        seed: of the choice.

    Raises:
        InputError: if a pool holds fewer than asked for, or the data set forbids so many.
    """
    check_max_train(dataset, num_train)
    pools = dataset.pools
    if pools is None:
        try:
            return random_split(len(dataset), num_train, num_val, num_test, seed)
        except InputError as error:
            raise InputError(f"{dataset.name}: {error}") from None
    if dataset._indices is not None:
        raise InputError(f"{dataset.name}: split the whole data set, not a part of it")
    wanted = {"train": num_train, "val": num_val, "test": num_test}
    if pools.val is None:
        wanted["train"] += num_val
    samples = {
        name: _sample(dataset.name, name, pool, wanted[name], seed)
        for name, pool in pools._asdict().items()
        if pool is not None
    }
    train, test = samples["train"], samples["test"]
    return Split(train[:num_train], samples.get("val", train[num_train:]), test)


def check_max_train(dataset: StructureDataset, num_train: int) -> None:
    """Raise `InputError` where its authors ask not to train on so many structures."""
    limit = dataset.max_train
    if limit is not None and num_train > limit:
        raise InputError(
            f"{dataset.name}: its authors ask not to train on more than {limit} frames, because "
            f"frames resemble each other; got num_train={num_train}; give at most {limit}, or "
            "max_train=None to the data set"
        )


def _sample(where: str, name: str, pool: Tensor, number: int | None, seed: int) -> Tensor:
    number = pool.numel() if number is None else number
    if not 0 <= number <= pool.numel() or (name == "train" and number == 0):
        raise InputError(
            f"{where}: {number} structures asked for where {pool.numel()} are published for "
            f"{name}{' (and val)' if name == 'train' else ''}; ask for fewer, and at least one to "
            "train on"
        )
    order = np.random.default_rng(seed).permutation(pool.numel())
    return pool[torch.from_numpy(order[:number])]
