"""Which structures train, which stop the training, and which are never seen."""

import hashlib
import io
import os
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from schnetgeo.errors import InputError
from schnetgeo.files import atomic_write


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
