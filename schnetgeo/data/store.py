"""Data sets that stay on disk: written once, block by block, opened at once, larger than memory."""

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Dataset

from schnetgeo.data.columns import Arrays, created, extended, map_columns, read_header
from schnetgeo.data.neighbors import edge_cutoff
from schnetgeo.data.packed import PackedDataset, local_edges
from schnetgeo.data.structure import Structure
from schnetgeo.errors import InputError

_MANY = 2**22  # atoms whose edges are better kept on disk


class Store(PackedDataset):
    """A data set in a folder that `write_store` made, read from there when it is looked at.

    It does all that a `PackedDataset` does and gives the same batches. Opening reads a header;
    the structures were validated when they were written. In other processes, such as the workers
    of a `DataLoader`, it opens the same files again.

    Args:
        path: the folder.
        aliases: further names of fields, such as {"energy": "U0"}.

    Raises:
        InputError: if it is no store, or one of its files is missing or was cut off.
    """

    def __init__(self, path: str | os.PathLike, aliases: Mapping[str, str] | None = None):
        Dataset.__init__(self)
        self.path, self.where = Path(path).absolute(), Path(path).name
        header = read_header(path)
        self.notes = header.get("notes", {})
        self.packed = _mapped(self.path, header, aliases=aliases)
        self._edge_ptr = None

    @property
    def in_memory(self) -> bool:
        return not isinstance(self.packed, _Mapped)  # such as a set read from a file at hand

    def with_edges(self, cutoff: float, on_disk: bool | None = None) -> PackedDataset:
        """These structures with their edges, built once.

        Args:
            cutoff: r_c in Å.
            on_disk: build the edges of the whole store, beside it, where the next training finds
                them; `None` does so for more than 4 million atoms and takes those it finds.

        Raises:
            InputError: if they are to be kept on disk and cannot be written.
        """
        if self.in_memory:
            return super().with_edges(cutoff)
        folder = self.path / f"edges_{float(cutoff)}"
        if on_disk is None:
            on_disk = folder.exists() or int(self.num_atoms.sum()) > _MANY
        if not on_disk:
            return super().with_edges(cutoff)
        whole = copy.copy(self)
        whole._indices = None
        _complete_edges(whole, folder, cutoff)
        edges = map_columns(folder, read_header(folder))
        out = copy.copy(self)
        path, header, _, aliases = self.packed.__dict__["origin"]
        out.packed = _mapped(path, header, folder, aliases)
        out._edge_ptr = edges["edge_ptr"]
        return out


def write_store(
    path: str | os.PathLike,
    parts: Iterable[PackedDataset],
    append: bool = False,
    wait: bool = False,
    **notes,
) -> Store:
    """Write structures into a folder in one pass, with one part in memory at a time.

    The folder appears when all is written. If anything fails, or the process is killed, there is
    none, or the one from before.

    Args:
        path: the folder; with `append` a store that is there already.
        parts: data sets with the same fields; may be a generator.
        append: add to the store instead of making a new one.
        wait: for another process that writes the same store, instead of raising.
        **notes: for the header, such as units={"mu": "Debye"}.

    Raises:
        InputError: if a part lacks a field or has another type, if the store exists, if another
            process is writing it, or the disk is full.
    """
    with extended(path, wait) if append else created(path, {"notes": notes}, wait) as arrays:
        for part in parts:
            for block in part.blocks():
                _append(arrays, block)
        if not arrays.columns:
            raise InputError(f"{path}: there are no structures to write")
    return Store(path)


def _append(arrays: Arrays, block: PackedDataset) -> None:
    structures, sizes = block.gathered()
    first = max(0, arrays.rows("ptr") - 1)
    fields = set(structures.keys())
    odd = fields ^ {name.partition(".")[0] for name in arrays.columns if name != "ptr"}
    if first and odd:
        has = "has" if min(odd) in fields else "lacks"
        raise InputError(
            f"{block.where}: {has} {min(odd)!r}, unlike the {first} structures written before; "
            "give all structures the same fields, or drop this one"
        )
    _append_offsets(arrays, "ptr", sizes.numpy(), arrays.rows("z"))
    for key, value in structures.to_dict().items():
        try:
            if torch.is_tensor(value):
                arrays.append(key, value.numpy())
            else:
                _append_text(arrays, key, value)
        except InputError as error:
            raise InputError(f"{block.where}: {error}") from None


def _append_text(arrays: Arrays, key: str, texts: list[str]) -> None:
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"{key} holds {type(texts[0]).__name__}s; a store keeps tensors and text")
    encoded = [text.encode() for text in texts]
    sizes = np.array([len(text) for text in encoded])
    _append_offsets(arrays, f"{key}.ptr", sizes, arrays.rows(f"{key}.text"))
    arrays.append(f"{key}.text", np.frombuffer(b"".join(encoded), np.uint8))


def _append_offsets(arrays: Arrays, name: str, sizes: np.ndarray, rows: int) -> None:
    """Where each structure ends, after so many rows of those before."""
    if not arrays.rows(name):
        arrays.append(name, np.zeros(1, np.int64))
    arrays.append(name, rows + sizes.cumsum())


def _complete_edges(whole: PackedDataset, folder: Path, cutoff: float) -> None:
    """Have the edges of all structures in the folder; a process that comes second waits."""
    if not folder.exists():
        try:
            with created(folder, {"cutoff": cutoff}, wait=True) as arrays:
                _append_edges(arrays, whole, cutoff)
        except InputError:
            if not folder.exists():  # else another process was first
                raise
    if read_header(folder)["columns"]["edge_ptr"]["rows"] - 1 < len(whole):
        with extended(folder, wait=True) as arrays:
            _append_edges(arrays, whole, cutoff)


def _append_edges(arrays: Arrays, whole: PackedDataset, cutoff: float) -> None:
    for block in whole[max(0, arrays.rows("edge_ptr") - 1) :].blocks():
        edges = local_edges(block, cutoff, max(0, arrays.rows("edge_ptr") - 1))
        _append_offsets(arrays, "edge_ptr", edges.pop("count").numpy(), arrays.rows("edge_reverse"))
        for key, value in edges.items():
            arrays.append(key, (value.mT if key == "edge_index" else value).numpy())


class _Mapped(Structure):
    """Structures in files, which go to other processes by name."""

    def __reduce__(self):
        return _mapped, self.__dict__["origin"]


def _mapped(
    path: Path, header: dict, edges: Path | None = None, aliases: Mapping[str, str] | None = None
) -> _Mapped:
    columns = map_columns(path, header)
    for key in [name.removesuffix(".text") for name in columns if name.endswith(".text")]:
        columns[key] = _Texts(columns.pop(f"{key}.text"), columns.pop(f"{key}.ptr"))
    columns |= {name: columns[field] for name, field in (aliases or {}).items()}
    if edges is not None:
        built = read_header(edges)
        found = map_columns(edges, built)
        found.pop("edge_ptr")
        columns |= {**found, "edge_index": found["edge_index"].mT}
        # one number, seen as many times as there are structures
        columns["edge_cutoff"] = edge_cutoff(1, built["cutoff"]).expand(len(columns["ptr"]) - 1)
    packed = _Mapped(**columns)
    packed.__dict__["origin"] = path, header, edges, aliases  # in `Data` it would be a field
    return packed


class _Texts(Sequence):
    """Strings one after the other in UTF-8."""

    def __init__(self, text: Tensor, ptr: Tensor):
        self.text, self.ptr = text.numpy(), ptr.numpy()

    def __len__(self) -> int:
        return len(self.ptr) - 1

    def __getitem__(self, index: int) -> str:
        return self.text[self.ptr[index] : self.ptr[index + 1]].tobytes().decode()
