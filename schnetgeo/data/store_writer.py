"""Writing data sets to disk, block by block, whatever fields each block has."""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from schnetgeo.data.column_writer import (
    ColumnWriter,
    append_columns,
    append_offsets,
    create_columns,
)
from schnetgeo.data.merge import Remarks, merged
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.store import OnDiskDataset
from schnetgeo.data.structure import Structure, labels_in, mask_name
from schnetgeo.errors import InputError


def write_on_disk(
    path: str | os.PathLike,
    parts: Iterable[StructureDataset],
    append: bool = False,
    wait: bool = False,
    remarks: Remarks | None = None,
    **notes,
) -> OnDiskDataset:
    """Write structures into a folder in one pass, with one part in memory at a time.

    Parts with different fields or types are brought together as `merged` does, for which they are
    written once more.

    The folder appears when all is written. If anything fails, or the process is killed, there is
    none, or the one from before.

    Args:
        path: the folder; with `append` a store that is there already.
        parts: data sets; may be a generator.
        append: add to the store instead of making a new one; its fields and types stay.
        wait: for another process that writes the same store, instead of raising.
        remarks: is told what was filled in or left out, instead of a note.
        **notes: for the header, such as units={"mu": "Debye"}.

    Raises:
        InputError: if a part cannot be brought to the others' fields, if the store exists, if
            another process is writing it, or the disk is full.
    """
    log = Remarks() if remarks is None else remarks
    with (
        append_columns(path, wait)
        if append
        else create_columns(path, {"notes": notes}, wait) as arrays
    ):
        blocks = _blocks(parts, notes)
        if append:
            _add_to(OnDiskDataset(path), arrays, blocks, log)
        else:
            _add(arrays, blocks, log)
        if not arrays.columns:
            raise InputError(f"{path}: there are no structures to write")
    store = OnDiskDataset(path)
    if remarks is None:
        log.say(store.name, len(store))
    return store


def _blocks(parts: Iterable[StructureDataset], notes: dict) -> Iterator[StructureDataset]:
    """All blocks of all parts; the units of their labels are added to the notes."""
    units = notes.setdefault("units", {})
    for part in parts:
        units |= {target.name: target.unit for target in part.labels}
        yield from part.iter_chunks()


def _add_to(
    store: OnDiskDataset, arrays: ColumnWriter, blocks: Iterable[StructureDataset], remarks: Remarks
) -> None:
    """Add blocks that have the fields and types of a store, or fewer."""
    fields = store[:0].materialize()[0]
    units = {target.name: target.unit for target in store.labels}
    for block in blocks:
        for target in block.labels:
            if units.get(target.name, target.unit) != target.unit:
                raise InputError(
                    f"{block.name}: {target.name} is in {target.unit}, but {store.name} has it in "
                    f"{units[target.name]}; define the target with that unit"
                )
        structures, sizes = block.materialize()
        if _types(structures) != _types(fields):
            per_atom = _per_atom(store) | _per_atom(block)
            structures = _merge(structures, len(block), [fields], per_atom, block.name, remarks)
            if _types(structures) != _types(fields):
                raise _unlike(structures, fields, block.name)
        _append(arrays, structures, sizes.numpy(), block.name)


def _add(arrays: ColumnWriter, blocks: Iterable[StructureDataset], remarks: Remarks) -> None:
    """Add blocks; where their fields differ, they are brought together when all are written."""
    runs: list[Path] = []  # of blocks that are alike
    fields: list[Structure] = []
    per_atom: set[str] = set()
    for block in blocks:
        structures, sizes = block.materialize()
        per_atom |= _per_atom(block)
        if arrays.columns and _types(structures) != types:
            runs.append(arrays.set_aside(f".{len(runs)}"))
        types = _types(structures)
        if types not in map(_types, fields):
            fields.append(_fields(structures))
        _append(arrays, structures, sizes.numpy(), block.name)
    if not runs:
        return
    runs.append(arrays.set_aside(f".{len(runs)}"))
    common, where = None, str(arrays.where)
    for folder in runs:
        for block in OnDiskDataset(folder).iter_chunks():
            structures, sizes = block.materialize()
            structures = _merge(structures, len(block), fields, per_atom, where, remarks)
            common = common or structures
            if _types(structures) != _types(common):
                raise _unlike(structures, common, where)
            _append(arrays, structures, sizes.numpy(), where)
        shutil.rmtree(folder, ignore_errors=True)


def _per_atom(dataset: StructureDataset) -> set[str]:
    return {name for name in dataset.packed.keys() if dataset.is_per_atom(name)}


def _merge(
    structures: Structure,
    count: int,
    fields: list[Structure],
    per_atom: set[str],
    where: str,
    remarks: Remarks,
) -> Structure:
    """Structures with the fields and types that they have in common with others."""
    parts, counts = [structures, *fields], [count] + [0] * len(fields)
    out = merged(parts, counts, [where] * len(parts), remarks, per_atom)
    names = {name for part in parts for name in part.keys()}
    for label in labels_in(names):
        mask = mask_name(label)
        lacks = any(mask in other or label not in other for other in fields)
        if label in out and mask not in out and lacks:
            out[mask] = torch.ones(count, dtype=torch.bool)
    return out


def _append(arrays: ColumnWriter, structures: Structure, sizes: np.ndarray, where: str) -> None:
    append_offsets(arrays, "ptr", sizes, arrays.rows("z"))
    for key, value in structures.to_dict().items():
        try:
            if torch.is_tensor(value):
                arrays.append(key, value.numpy())
            else:
                _append_text(arrays, key, value)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None


def _fields(structures: Structure) -> Structure:
    """No structure, with the fields and types of these."""
    return Structure(**{key: value[:0] for key, value in structures.to_dict().items()})


def _types(structures: Structure) -> dict[str, tuple]:
    return {
        key: (value.dtype, value.shape[1:]) if torch.is_tensor(value) else ("text",)
        for key, value in structures.to_dict().items()
    }


def _unlike(structures: Structure, before: Structure, where: str) -> InputError:
    """What to raise for structures that cannot stand beside those before."""
    new, old = _types(structures), _types(before)
    name = min(key for key in new.keys() | old.keys() if new.get(key) != old.get(key))
    label = name.removesuffix("_mask")
    if name == mask_name(label) and label in structures:
        what = f"some structures have no {label}, which all before have"
    else:
        label = name
        what = f"{name!r} is {_shown(new.get(name))}, but {_shown(old.get(name))} before"
    return InputError(
        f"{where}: {what}; convert all data together into a new store, or drop it (--drop {label})"
    )


def _shown(kind: tuple | None) -> str:
    """Such as "absent", "text" or "float64 of shape [3]"."""
    if kind is None or len(kind) == 1:
        return "absent" if kind is None else kind[0]
    dtype, shape = kind
    return f"{str(dtype).removeprefix('torch.')} of shape {list(shape)}"


def _append_text(arrays: ColumnWriter, key: str, texts: list[str]) -> None:
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"{key} holds {type(texts[0]).__name__}s; a store keeps tensors and text")
    encoded = [text.encode() for text in texts]
    sizes = np.array([len(text) for text in encoded])
    append_offsets(arrays, f"{key}.ptr", sizes, arrays.rows(f"{key}.text"))
    arrays.append(f"{key}.text", np.frombuffer(b"".join(encoded), np.uint8))
