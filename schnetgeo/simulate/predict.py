"""Predictions for files of any length: block by block, in batches of about as many atoms."""

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.structure import GRAPH, is_per_atom, labels_in, mask_name
from schnetgeo.datasets.extxyz_frames import format_frames
from schnetgeo.errors import InputError
from schnetgeo.potential import Potential
from schnetgeo.simulate.model_source import AnyPotential
from schnetgeo.simulate.resumable_file import ResumableFile

BLOCK = 1024  # structures that are written at once


def predict_batches(
    potential: AnyPotential,
    dataset: StructureDataset,
    max_atoms: int = 4096,
    **options,
) -> dict[str, Tensor]:
    """Predictions for all structures of a data set, in their order, by name, on the CPU.

    Structures of about the same size share a batch, so that memory is bounded by their atoms.
    Standard deviations, where there are some, are called `energy_std` (B,) and `forces_std` (N, 3).

    Args:
        potential: what predicts.
        dataset: B structures of N atoms in all.
        max_atoms: atoms in a batch, unless a single structure has more.
        **options: of the potential's call, such as `forces=False`.

    Raises:
        InputError: as the potential, and for `max_atoms` below 1.
    """
    if max_atoms < 1:
        raise InputError(f"max_atoms must be 1 or more, got {max_atoms}")
    sizes = dataset.num_atoms.numpy()
    parts, chosen = [], []
    device = potential.scale.device if isinstance(potential, Potential) else torch.device("cpu")
    for batch in batches_by_atoms(sizes, max_atoms):
        chosen.append(batch)
        prediction = potential(dataset.batch(batch).to(device), **options)
        values, spread = dict(prediction.items()), prediction.uncertainty
        if spread is not None:
            values["energy_std"] = spread.energy
            if spread.forces is not None:
                values["forces_std"] = spread.forces
        parts.append({name: value.cpu() for name, value in values.items()})
    return _in_order(parts, np.concatenate(chosen), sizes)


def batches_by_atoms(sizes: np.ndarray, max_atoms: int) -> Iterator[np.ndarray]:
    """Indices of structures, sorted by size, so that no batch has more atoms unless it is one."""
    order, first, atoms = np.argsort(sizes, kind="stable"), 0, 0
    for k, index in enumerate(order):
        if k > first and atoms + sizes[index] > max_atoms:
            yield order[first:k]
            first, atoms = k, 0
        atoms += sizes[index]
    yield order[first:]


def _in_order(
    parts: list[dict[str, Tensor]], order: np.ndarray, sizes: np.ndarray
) -> dict[str, Tensor]:
    """Rows of structures and of atoms as they were before sorting."""
    starts = np.cumsum(sizes) - sizes
    atoms = np.concatenate([np.arange(starts[k], starts[k] + sizes[k]) for k in order])
    out = {}
    for name in parts[0]:
        values = torch.cat([part[name] for part in parts])
        place = torch.from_numpy(order if len(values) == len(order) else atoms)
        # one atom each: structures and atoms are the same
        out[name] = torch.empty_like(values).index_copy_(0, place, values)
    return out


def predict_to_file(
    potential: AnyPotential,
    parts: Iterable[StructureDataset],
    out: str | os.PathLike,
    *,
    job: dict | None = None,
    shard: tuple[int, int] = (1, 1),
    max_atoms: int = 4096,
    overwrite: bool = False,
    **options,
) -> Iterator[int]:
    """Write structures with predictions as extended XYZ; yields how many structures are done.

    Written are geometry, predictions, numbers and texts that the structures carry, and
    `input_index`, their position in the input. A call after one that was killed goes on behind the
    last whole block; the file is the same as without the interruption.

    Args:
        potential: what predicts.
        parts: data sets, one after the other; may be a generator.
        out: file that appears when all is written.
        job: what predictions depend on beside this; going on with another is refused.
        shard: (i, n): the blocks i, i + n, … of 1,024 structures, i from 1.
        max_atoms: atoms in a batch.
        overwrite: begin anew, whatever is there.
        **options: of the potential's call.

    Raises:
        InputError: as `predict_batches`, where the file is there already, was begun with something
            else, or cannot be written.
    """
    number, count = shard
    if not 1 <= number <= count:
        raise InputError(f"shard must be i/n with i from 1 to n, got {number}/{count}")
    job = {**(job or {}), "shard": [*shard], "max_atoms": max_atoms, "options": options}
    with ResumableFile.open(Path(out), job, overwrite) as file:
        blocks = itertools.islice(_blocks(parts), number - 1, None, count)
        for k, (first, block) in enumerate(blocks):
            if k >= file.pieces:
                values = predict_batches(potential, block, max_atoms, **options)
                file.append(_frames(block, values, first))
            yield len(block)


def _blocks(parts: Iterable[StructureDataset]) -> Iterator[tuple[int, StructureDataset]]:
    """Blocks of structures, and the position of the first of each."""
    first = 0
    for part in parts:
        for block in part.iter_chunks(BLOCK):
            yield first, block
            first += len(block)


def _frames(block: StructureDataset, values: dict[str, Tensor], first: int) -> str:
    structures, sizes = block.materialize()
    fields = {k: v.numpy() if torch.is_tensor(v) else v for k, v in structures.to_dict().items()}
    predicted = {name: value.numpy() for name, value in values.items()}
    counts = len(fields["z"]), len(block)
    per_atom = {k: v.numpy() for k, v in values.items() if is_per_atom(k, v, *counts)}
    per_structure = {k: v for k, v in predicted.items() if k not in per_atom}
    carried = {
        k: v
        for k, v in fields.items()
        if k not in _left_out(fields) and k not in values and _is_entry(v, len(block))
    }
    index = np.arange(first, first + len(block))
    return format_frames(
        fields["z"], fields["pos"], sizes.tolist(), fields.get("cell"), fields.get("pbc"),
        per_atom, {**per_structure, **carried, "input_index": index},
    )  # fmt: skip


def _left_out(fields: dict) -> set[str]:
    """Geometry, edges, and labels, which are no predictions."""
    labels = {*labels_in(fields), "free_energy"}
    return {"z", "pos", "cell", "pbc", *GRAPH, *labels, *map(mask_name, labels)}


def _is_entry(value: object, number: int) -> bool:
    if isinstance(value, np.ndarray):
        return value.shape == (number,) and value.dtype.kind in "fiu"
    return isinstance(value, Sequence) and all(isinstance(text, str) for text in value)


def files_digest(paths: Sequence[str | os.PathLike]) -> str:
    """Sixteen digits that stand for the names, sizes and times of files and folders."""
    digest = hashlib.sha256()
    for path in map(Path, paths):
        members = sorted(path.rglob("*")) if path.is_dir() else [path]
        for member in members:
            try:
                state = member.stat()
            except OSError as error:
                raise InputError(f"{member}: cannot be read: {error.strerror}") from None
            digest.update(f"{member.resolve()} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
