"""The split that a word or a file asks for, and what must be said about it."""

import os

import numpy as np
import torch

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.split import Split
from schnetgeo.data.split_methods import block_split, group_split, random_split
from schnetgeo.data.structure import PER_EDGE
from schnetgeo.errors import InputError

_SAMPLE = 1000  # pairs of frames that tell a trajectory


def make_split(
    spec: str,
    dataset: StructureDataset,
    num_train: int,
    num_val: int,
    num_test: int | None = None,
    seed: int = 0,
) -> Split:
    """The split that a word from the shell asks for.

    Args:
        spec: "random"; "blocks", stretches of time; "group:NAME", structures with the same value of
            the attribute NAME together; "group:file", those of each file of an `AtomsFile`; or a
            file that `Split.load` reads, with all its indices.
        dataset: what to split.
        num_train: structures to train on.
        num_val: structures to validate on.
        num_test: structures to test on; `None` is all the rest.
        seed: of what is drawn.

    Raises:
        InputError: for another word, or what cannot be split so.
    """
    numbers = num_train, num_val, num_test, seed
    if spec == "random":
        return random_split(len(dataset), *numbers)
    if spec == "blocks":
        return block_split(len(dataset), *numbers)
    if spec.startswith("group:"):
        name = spec.removeprefix("group:")
        counts = getattr(dataset, "counts", None)  # of the files that it was read from
        if name == "file" and not dataset.has_property(name) and isinstance(counts, list):
            files = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
            return group_split(files[dataset.indices()], *numbers)
        known = [
            key
            for key in dataset.packed.keys()
            if key not in (*PER_EDGE, "ptr") and not dataset.is_per_atom(key)
        ]
        if name not in known:
            raise InputError(
                f"{dataset.name}: has no {name!r} to group by; it has {', '.join(sorted(known))}"
            )
        return group_split(dataset.get_property(name), *numbers)
    if not os.path.isfile(spec):
        raise InputError(
            f"split {spec!r} is no file and none of random, blocks, group:NAME; give one of these"
        )
    return Split.load(spec).check(len(dataset), spec)


def split_warning(spec: str, dataset: StructureDataset) -> str | None:
    """What must be said about errors measured on such a split, if anything."""
    if spec == "random" and is_trajectory(dataset):
        return (
            "frames of a trajectory were split at random, so tested frames have trained neighbors: "
            "the errors are those of interpolation; split blocks keeps stretches of time apart"
        )
    return None


def is_trajectory(dataset: StructureDataset) -> bool:
    """Whether structures that follow each other are more alike than others are.

    They are if they have one composition and the median displacement of atoms between successive
    structures is less than half of that between structures drawn at random.
    """
    if len(dataset) < 3:
        return False
    rng = np.random.default_rng(0)
    first = rng.integers(len(dataset) - 1, size=_SAMPLE)
    chosen = [dataset.batch(i) for i in (first, first + 1, rng.permutation(first))]
    if any(not torch.equal(batch.z, chosen[0].z) for batch in chosen):
        return False
    here, after, other = (batch.pos.double() for batch in chosen)
    displacement = torch.linalg.vector_norm
    near, far = displacement(after - here, dim=1), displacement(other - here, dim=1)
    return bool(near.median() < far.median() / 2)
