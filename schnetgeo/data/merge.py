"""Structures with different attributes, and data sets of these, brought to the same attributes."""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial

import numpy as np
import torch
from ase.data import atomic_masses
from torch import Tensor

from schnetgeo.data.structure import GRAPH, PER_ATOM, Structure, is_per_atom, labels_in, mask_name
from schnetgeo.errors import InputError
from schnetgeo.notes import note

_ZEROS = ("tags", "momenta", "initial_charges", "initial_magmoms")  # where ASE has none
_FIXED = {*PER_ATOM, "energy", "stress", "cell", "pbc"}  # which have one shape, or are wrong
_EXACT = 2**53  # up to which float64 has all whole numbers


class Remarks:
    """What a data set leaves out or fills in, with the number of structures concerned.

    Attributes:
        left_out: what structures have no place for.
        lacking: labels that are not there.
        filled: other attributes that are not there.
        texts: attributes that became text.
    """

    def __init__(self):
        self.left_out: Counter[str] = Counter()
        self.lacking: Counter[str] = Counter()
        self.filled: Counter[str] = Counter()
        self.texts: set[str] = set()

    def say(self, where: str, total: int) -> None:
        """Give one note for what was left out, and one for what some structures lack."""
        if self.left_out:
            items = [f"{text} of {n:,}" for text, n in self.left_out.most_common()]
            note(f"{where}: left out {', '.join(items)} of {total:,} structures")
        if self.lacking:
            items = [f"{n:,} have no {name}" for name, n in self.lacking.items()]
            note(
                f"{where}: of {total:,} structures {', '.join(items)}; they are kept, and used for "
                "the labels that they have"
            )
        if self.filled:
            items = [f"{n:,} have no {name!r}" for name, n in self.filled.items()]
            note(
                f"{where}: of {total:,} structures {', '.join(items)}; there text is empty and a "
                "number is nan, or ASE's default"
            )
        if self.texts:
            note(
                f"{where}: {', '.join(map(repr, sorted(self.texts)))} became text, as whole "
                "numbers above 2^53 are no exact fractions"
            )


def merged(
    parts: Sequence[Structure],
    counts: Sequence[int],
    where: Sequence[str] | str,
    remarks: Remarks,
    per_atom: Container[str] = (),
) -> Structure:
    """All structures in a row.

    A label that some lack is nan there, with a mask such as `forces_mask` (B,): labels are called
    as a known target, or have a mask already. Other attributes
    that some lack are empty text, nan or ASE's default, or left out where there is no such value.
    Whole numbers and fractions become fractions, or text where they are above 2^53; numbers and
    text become text.

    Args:
        parts: structures, or packed ones, without `ptr` and edges.
        counts: structures in each part.
        where: what errors call each part, or all of them: then the number of the part is added.
        remarks: is told what was filled in or left out.
        per_atom: attributes that have a row for each atom, whatever the parts show.

    Raises:
        InputError: for edges, and for rows that are not one an atom or one a structure.
    """
    rows = [part.to_dict() for part in parts]
    fields = dict.fromkeys(key for row in rows for key in row if key != "ptr")
    labels = dict.fromkeys(labels_in(fields))
    masks = {mask_name(label) for label in labels}
    atoms = [row["z"].numel() for row in rows]
    out = Structure()
    for key in filter(lambda name: name not in masks, fields):
        values = [row.get(key) for row in rows]
        of_atoms = key in per_atom or any(map(partial(is_per_atom, key), values, atoms, counts))
        sizes = atoms if of_atoms else counts
        _check_rows(key, values, sizes, of_atoms, lambda k: _place(where, k))
        if not of_atoms and _is_rounded(values):
            remarks.texts.add(key)
            values = [_written(v) if torch.is_tensor(v) else v for v in values]
        column = _column(key, values, rows, sizes, of_atoms)
        if column is None:
            remarks.left_out[f"{key!r} (not in all structures, or of different types)"] += sum(
                n for value, n in zip(values, counts, strict=True) if value is not None
            )
            continue
        out[key] = column
        lacking = sum(n for value, n in zip(values, counts, strict=True) if value is None)
        if lacking and key not in ("cell", "pbc"):
            is_label = key in labels and torch.is_tensor(column)
            (remarks.lacking if is_label else remarks.filled)[key] += lacking
    for label in labels:
        known = [_mask(row, label, n) for row, n in zip(rows, counts, strict=True)]
        if torch.is_tensor(out.get(label)) and not all(bool(part.all()) for part in known):
            out[mask_name(label)] = torch.cat(known)
    return out


def _place(where: Sequence[str] | str, part: int) -> str:
    return f"{where}, structure {part}" if isinstance(where, str) else where[part]


def _check_rows(
    key: str, values: list, sizes: Sequence[int], of_atoms: bool, place: Callable[[int], str]
) -> None:
    if key in GRAPH:
        k = next(k for k, value in enumerate(values) if value is not None)
        raise InputError(
            f"{place(k)}: has {key!r} already; pack it without edges, then call with_edges"
        )
    like = next(value for value in values if value is not None)
    for k, value in enumerate(values):
        if not torch.is_tensor(value):
            if value is not None and not isinstance(value, str | Sequence):
                raise InputError(
                    f"{place(k)}: {key} is a {type(value).__name__}; give a tensor or text"
                )
            continue
        if key in _FIXED and value.shape[1:] != like.shape[1:]:
            raise InputError(
                f"{place(k)}: {key} has shape {tuple(value.shape)}, but {tuple(like.shape)} in "
                f"{place(0)}; give it one shape"
            )
        if value.dim() == 0 or len(value) != sizes[k]:
            raise InputError(
                f"{place(k)}: {key} must have {sizes[k]} rows, one for each "
                f"{'atom' if of_atoms else 'structure'}, got shape {tuple(value.shape)}"
            )


def _column(key: str, values: list, rows: list[dict], sizes: Sequence[int], of_atoms: bool):
    """The values of all parts in a row; `None` where they cannot stand in one row."""
    known = [value for value in values if value is not None]
    tensors = [value for value in known if torch.is_tensor(value)]
    if not tensors:
        return _texts(["" if v is None else v for v in values], sizes)
    if len(tensors) < len(known):
        if any(value.dim() > 1 for value in tensors) or of_atoms:
            return None
        return _texts(["" if v is None else _written(v) for v in values], sizes)
    like = tensors[0]
    if any(value.shape[1:] != like.shape[1:] for value in tensors):
        return None
    kinds = {_kind(value) for value in tensors}
    if len(kinds) > 1 and "bool" in kinds:
        return None
    if len(known) < len(values):
        filled = [
            _absent(key, row, n, like) if value is None else value
            for value, row, n in zip(values, rows, sizes, strict=True)
        ]
        if any(value is None for value in filled):
            return None
        tensors, kinds = filled, {_kind(value) for value in filled}
    if kinds == {"int", "float"}:
        tensors = [value.double() for value in tensors]
    return torch.cat(tensors)


def _is_rounded(values: list) -> bool:
    """Whether whole numbers would become fractions that differ from them."""
    numbers = [value for value in values if torch.is_tensor(value)]
    mixed = len(numbers) < len(values) or len({_kind(value) for value in numbers}) > 1
    return mixed and any(
        _kind(v) == "int" and bool(((v > _EXACT) | (v < -_EXACT)).any()) for v in numbers
    )


def _absent(key: str, row: dict, size: int, like: Tensor) -> Tensor | None:
    """What stands in so many rows for an attribute that the structures of a part lack."""
    if key in ("cell", "pbc") or key in _ZEROS:
        return like.new_zeros(size, *like.shape[1:])
    if key == "masses":
        known = row["z"].clamp(0, len(atomic_masses) - 1)  # others are refused with the structure
        return torch.from_numpy(atomic_masses)[known].to(like.dtype)
    if like.dtype == torch.bool:
        return None
    dtype = like.dtype if like.is_floating_point() else torch.float64
    return torch.full((size, *like.shape[1:]), torch.nan, dtype=dtype)


def _mask(row: dict, label: str, count: int) -> Tensor:
    if mask_name(label) in row:
        return row[mask_name(label)]
    return torch.full((count,), label in row)


def _kind(value: Tensor) -> str:
    if value.dtype == torch.bool:
        return "bool"
    return "float" if value.is_floating_point() else "int"


def _written(value: Tensor | str | Iterable[str]):
    return [str(x) for x in value.tolist()] if torch.is_tensor(value) else value


def _texts(values: list, counts: Sequence[int]) -> list[str]:
    out = []
    for value, count in zip(values, counts, strict=True):
        out += [value] * count if isinstance(value, str) else list(value)
    return out


def sizes_of(structures: Sequence[Structure]) -> Tensor:
    """Atoms of each structure."""
    return torch.from_numpy(np.array([s.z.numel() for s in structures], dtype=np.int64))
