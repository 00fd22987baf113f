"""Which structures train, which stop the training, and which are never seen."""

import io
import os
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from schnetgeo.errors import InputError
from schnetgeo.files import write_whole


class Split(NamedTuple):
    """Indices into a data set; no structure is in two parts."""

    train: Int[Tensor, "T"]
    val: Int[Tensor, "V"]
    test: Int[Tensor, "S"]

    def save(self, path: str | os.PathLike) -> None:
        """Write an .npz with the arrays `train`, `val` and `test`."""
        buffer = io.BytesIO()
        np.savez(buffer, **{k: v.numpy() for k, v in self._asdict().items()})
        write_whole(path, buffer.getvalue())

    def keep(self, path: str | os.PathLike, resume: bool) -> None:
        """Save the split of a training, or check that a resumed one has the same.

        Raises:
            InputError: if `resume` and the file holds another split: frames already trained on
                would be tested.
        """
        if resume and os.path.exists(path):
            before = Split.load(path)
            if not all(torch.equal(a, b) for a, b in zip(self, before, strict=True)):
                raise InputError(
                    f"{path}: the training was begun with another split; give the same data, seed "
                    "and numbers of structures, or choose another folder"
                )
        self.save(path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Split":
        """Read what `save` wrote."""
        with np.load(path) as file:
            return cls(*(torch.from_numpy(file[name]) for name in cls._fields))


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
    asked = num_train + num_val + (num_test or 0)
    if num_train < 1 or num_val < 0 or (num_test or 0) < 0 or asked > size:
        raise InputError(
            f"cannot split {size} structures into num_train={num_train}, num_val={num_val}"
            + (f", num_test={num_test}" if num_test is not None else "")
            + f"; give whole numbers, none negative, that add up to at most {size}, with num_train "
            "at least 1"
        )
    order = torch.from_numpy(np.random.default_rng(seed).permutation(size))
    rest = size - num_train - num_val
    train, val, test = order.split([num_train, num_val, rest])
    return Split(train, val, test[:num_test])
