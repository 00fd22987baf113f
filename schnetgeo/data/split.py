"""Which structures train, which stop the training, and which are never seen."""

import hashlib
import io
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.structure import PER_ATOM, PER_EDGE
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_write

_SAMPLE = 1000  # pairs of frames that tell a trajectory


class Split(NamedTuple):
    """Indices into a data set; no structure is in two parts."""

    train: Int[Tensor, "T"]
    val: Int[Tensor, "V"]
    test: Int[Tensor, "S"]

    @property
    def digest(self) -> str:
        """Twelve digits that stand for this split: equal for equal indices in equal order."""
        content = hashlib.sha256()
        for part in self:
            content.update(part.numpy().astype("<i8").tobytes() + b"|")
        return content.hexdigest()[:12]

    def save(self, path: str | os.PathLike, **notes: str) -> None:
        """Write an .npz with the arrays `train`, `val` and `test`, the `digest` and any notes."""
        buffer = io.BytesIO()
        arrays = {name: part.numpy() for name, part in self._asdict().items()}
        np.savez(buffer, **arrays, digest=self.digest, **notes)
        atomic_write(path, buffer.getvalue())

    def save_or_verify(self, path: str | os.PathLike, resume: bool, **notes: str) -> None:
        """Save the split of a training, or check that a resumed one has the same.

        Raises:
            InputError: if `resume` and the file holds another split: frames already trained on
                would be tested.
        """
        if resume and os.path.exists(path):
            before = Split.load(path)
            if before.digest != self.digest:
                raise InputError(
                    f"{path}: the training was begun with another split; give the same data, seed "
                    "and numbers of structures, or choose another folder"
                )
        self.save(path, **notes)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Split":
        """Read what `save` wrote, or the `train_idx`, `val_idx` and `test_idx` of SchNetPack.

        Raises:
            InputError: if the file has no such arrays, or its digest is that of other indices.
        """
        try:
            with np.load(path) as file:
                arrays = {name.removesuffix("_idx"): file[name] for name in file.files}
        except Exception as error:  # NumPy and zipfile fail in many ways on what they did not write
            raise InputError(f"{path}: cannot be read as a split ({error}); give an .npz") from None
        empty = np.empty(0, np.int64)
        parts = [arrays.get(name, None if name == "train" else empty) for name in cls._fields]
        whole = [isinstance(p, np.ndarray) and p.ndim == 1 and p.dtype.kind in "iu" for p in parts]
        if not all(whole):
            raise InputError(
                f"{path}: a split has arrays of indices train, val and test, the last two if "
                f"wanted; it has {', '.join(sorted(arrays)) or 'nothing'}"
            )
        if any(part.size and int(part.max()) >= 2**63 for part in parts):
            raise InputError(f"{path}: indices of a split are below the number of structures")
        split = cls(*(torch.from_numpy(part.astype(np.int64)) for part in parts))
        if "digest" in arrays and str(arrays["digest"]) != split.digest:
            raise InputError(f"{path}: its digest is that of another split; get a fresh copy")
        return split

    def check(self, size: int, where: str = "split") -> "Split":
        """The same split, if it can be one of so many structures.

        Raises:
            InputError: for an index out of range, or in two places.
        """
        chosen = torch.cat(self)
        bad = ((chosen < 0) | (chosen >= size)).nonzero()
        if bad.numel():
            raise InputError(
                f"{where}: index {int(chosen[bad[0, 0]])} is not below {size}, the number of "
                "structures; indices count from 0"
            )
        twice = (chosen.bincount() > 1).nonzero()
        if twice.numel():
            raise InputError(
                f"{where}: structure {int(twice[0, 0])} is listed more than once, so it could be "
                "trained on and tested; list each once"
            )
        if not len(self.train):
            raise InputError(f"{where}: there is nothing to train on; list indices under train")
        return self


def random_split(
    size: int, num_train: int, num_val: int, num_test: int | None = None, seed: int = 0
) -> Split:
    """A random split; the same seed gives the same split on every machine.

    Args:
        size: structures in the data set.
        num_train: structures to train on, at least 1.
        num_val: structures that choose the best weights.
        num_test: structures to report on; `None` is all the rest.
        seed: of the permutation.

    Raises:
        InputError: if there are fewer structures than asked for.
    """
    _check_numbers(size, num_train, num_val, num_test)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(size))
    rest = size - num_train - num_val
    train, val, test = order.split([num_train, num_val, rest])
    return Split(train, val, test[:num_test])


def group_split(
    groups: Sequence | Tensor,
    num_train: int,
    num_val: int,
    num_test: int | None = None,
    seed: int = 0,
) -> Split:
    """A random split that leaves groups whole: no group is in two parts.

    Groups in random order fill the training part until it holds `num_train` structures, then the
    validation part, then the test part; each part keeps as many structures as were asked for.

    Args:
        groups: what each structure belongs to, such as its molecule, or the parent frame of a
            short trajectory.
        num_train: structures to train on.
        num_val: structures that choose the best weights.
        num_test: structures to report on; `None` is all of the groups that remain.
        seed: of the permutations.

    Raises:
        InputError: if the groups do not suffice.
    """
    group, count = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)[1:]
    _check_numbers(len(group), num_train, num_val, num_test)
    rng = np.random.default_rng(seed)
    turn = rng.permutation(len(count))
    # group after group by their turn, within a group at random
    order = torch.from_numpy(np.lexsort([rng.permutation(len(group)), turn[group]]))
    end = count[turn.argsort()].cumsum()  # of each group in that order
    parts, first = [], 0
    for number in (num_train, num_val, num_test):
        last = len(end) - 1 if number is None else np.searchsorted(end, first + number)
        if last == len(end):
            raise InputError(
                f"{len(count)} groups of up to {count.max()} structures cannot be split into "
                f"num_train={num_train}, num_val={num_val}, num_test={num_test} with every group "
                "in one part; ask for fewer structures"
            )
        stop = first if number == 0 else end[last]
        parts.append(order[first:stop][:number])
        first = stop
    return Split(*parts)


def block_split(
    size: int,
    num_train: int,
    num_val: int,
    num_test: int | None = None,
    seed: int = 0,
    num_blocks: int = 10,
) -> Split:
    """A split of a trajectory by time, so that hardly a tested frame has a trained neighbor.

    The trajectory is cut into `num_blocks` equal stretches. As many as are needed are drawn for
    validation, then for the test, one at least for each; the others train. Frames of a part are
    drawn at random from its stretches.

    Args:
        size: frames in order of time.
        num_train: frames to train on.
        num_val: frames that choose the best weights.
        num_test: frames to report on; `None` is all of one stretch.
        seed: of stretches and frames.
        num_blocks: stretches.

    Raises:
        InputError: if the stretches that are left do not hold `num_train` frames.
    """
    _check_numbers(size, num_train, num_val, num_test)
    length = size // num_blocks if num_blocks > 0 else 0
    if not length:
        raise InputError(f"cannot cut {size} frames into num_blocks={num_blocks} stretches")
    needed = [-(-number // length) for number in (num_val, 1 if num_test is None else num_test)]
    rng = np.random.default_rng(seed)
    val, test, train = np.split(rng.permutation(num_blocks), np.cumsum(needed))
    block = np.arange(size) * num_blocks // size
    train, val, test = (
        torch.from_numpy(rng.permutation(np.isin(block, part).nonzero()[0]))
        for part in (train, val, test)
    )
    if len(train) < num_train:
        raise InputError(
            f"{num_blocks} stretches of {length} frames: {' and '.join(map(str, needed))} of them "
            f"validate and test, which leaves {len(train)} frames for num_train={num_train}; ask "
            "for fewer frames or raise num_blocks"
        )
    return Split(train[:num_train], val[:num_val], test[:num_test])


def k_fold(
    size: int, num_folds: int, seed: int = 0, groups: Sequence | Tensor | None = None
) -> list[Split]:
    """Splits in which every structure is tested once and validated once; groups stay whole.

    Fold number i tests in split i and validates in split i − 1; the others train.

    Args:
        size: structures in the data set.
        num_folds: at least 3.
        seed: of the folds.
        groups: what each structure belongs to; `None` is every structure to itself.

    Raises:
        InputError: if there are fewer than 3 folds, or fewer groups than folds.
    """
    group = np.unique(np.arange(size) if groups is None else groups, return_inverse=True)[1]
    number = int(group.max(initial=-1)) + 1
    if not 3 <= num_folds <= number or len(group) != size:
        raise InputError(
            f"cannot make num_folds={num_folds} of {number} groups of {len(group)} structures; "
            f"give 3 to {number} folds and a group for each of {size} structures"
        )
    rng = np.random.default_rng(seed)
    fold = (rng.permutation(number) % num_folds)[group]
    parts = [torch.from_numpy((fold == k).nonzero()[0]) for k in range(num_folds)]
    splits = []
    for k in range(num_folds):
        after = (k + 1) % num_folds
        train = torch.cat([part for i, part in enumerate(parts) if i not in (k, after)])
        splits.append(Split(train, parts[after], parts[k]))
    return splits


def make_split(
    how: str,
    dataset: StructureDataset,
    num_train: int,
    num_val: int,
    num_test: int | None = None,
    seed: int = 0,
) -> Split:
    """The split that a word from the shell asks for.

    Args:
        how: "random"; "blocks", stretches of time; "group:NAME", structures with the same value of
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
    if how == "random":
        return random_split(len(dataset), *numbers)
    if how == "blocks":
        return block_split(len(dataset), *numbers)
    if how.startswith("group:"):
        name = how.removeprefix("group:")
        counts = getattr(dataset, "counts", None)  # of the files that it was read from
        if name == "file" and not dataset.has_property(name) and isinstance(counts, list):
            files = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
            return group_split(files[dataset.indices()], *numbers)
        known = [key for key in dataset.packed.keys() if key not in (*PER_ATOM, *PER_EDGE, "ptr")]
        if name not in known:
            raise InputError(
                f"{dataset.name}: has no {name!r} to group by; it has {', '.join(sorted(known))}"
            )
        return group_split(dataset.get_property(name), *numbers)
    if not os.path.isfile(how):
        raise InputError(
            f"split {how!r} is no file and none of random, blocks, group:NAME; give one of these"
        )
    return Split.load(how).check(len(dataset), how)


def note(how: str, dataset: StructureDataset) -> str | None:
    """What must be said about errors measured on such a split, if anything."""
    if how == "random" and is_trajectory(dataset):
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


def _check_numbers(size: int, num_train: int, num_val: int, num_test: int | None) -> None:
    asked = num_train + num_val + (num_test or 0)
    if num_train < 1 or num_val < 0 or (num_test or 0) < 0 or asked > size:
        raise InputError(
            f"cannot split {size} structures into num_train={num_train}, num_val={num_val}"
            + (f", num_test={num_test}" if num_test is not None else "")
            + f"; give whole numbers, none negative, that add up to at most {size}, with num_train "
            "at least 1"
        )
