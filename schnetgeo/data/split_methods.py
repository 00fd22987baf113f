"""Splits drawn at random: of structures, of groups, of stretches of time, in folds."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from schnetgeo.data.split import Split
from schnetgeo.errors import InputError


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


def _check_numbers(size: int, num_train: int, num_val: int, num_test: int | None) -> None:
    asked = num_train + num_val + (num_test or 0)
    if num_train < 1 or num_val < 0 or (num_test or 0) < 0 or asked > size:
        raise InputError(
            f"cannot split {size} structures into num_train={num_train}, num_val={num_val}"
            + (f", num_test={num_test}" if num_test is not None else "")
            + f"; give whole numbers, none negative, that add up to at most {size}, with num_train "
            "at least 1"
        )
