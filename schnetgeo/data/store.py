"""Data sets that stay on disk: written once, block by block, opened at once, larger than memory."""

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch_geometric.data import Dataset

from schnetgeo.data.column_writer import (
    ColumnWriter,
    append_columns,
    append_offsets,
    create_columns,
)
from schnetgeo.data.columns import HEADER, check_content, content_size, map_columns, read_header
from schnetgeo.data.further_labels import stored_labels
from schnetgeo.data.graph import edge_cutoff
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.packed_edges import edges_per_structure
from schnetgeo.data.structure import MAX_Z, Structure, is_per_atom
from schnetgeo.data.validate import check_elements
from schnetgeo.errors import InputError

_MANY = 2**22  # atoms whose edges are better kept on disk
_ROWS = {"z": (), "pos": (3,), "forces": (3,), "cell": (3, 3), "pbc": (3,), "energy": (),
         "stress": (3, 3)}  # fmt: skip
_TYPES = {"z": (torch.int64,), "pos": (torch.float32, torch.float64), "energy": (torch.float64,),
          "pbc": (torch.bool,)}  # fmt: skip
_CHECKED: dict[Path, list[int]] = {}  # edges on disk that this process has checked, with their age
_LARGE = 2**28  # bytes that are read in a tenth of a second


class OnDiskDataset(StructureDataset):
    """A data set in a folder that `write_on_disk` made, read from there when it is looked at.

    It does all that a `StructureDataset` does and gives the same batches. Opening reads a header
    and, of up to 256 MB, all bytes once to compare their CRC-32; `check` does so for larger stores,
    and every training begins with it. The structures were validated when they were written. In
    other processes, such as the workers of a `DataLoader`, it opens the same files again.

    Args:
        path: the folder.
        aliases: further names of fields, such as {"energy": "U0"}.

    Raises:
        InputError: if it is no store, or one of its files is missing, was cut off or changed.
    """

    def __init__(self, path: str | os.PathLike, aliases: Mapping[str, str] | None = None):
        Dataset.__init__(self)
        self.path, self.name = Path(path).absolute(), Path(path).name
        header = read_header(path)
        self.notes = header.get("notes", {})
        self.packed = _mapped(self.path, header, aliases=aliases)
        self._edge_ptr = None
        units = self.notes.get("units", {})
        self.labels = tuple(stored_labels(self.packed, units if isinstance(units, dict) else {}))
        if content_size(header) <= _LARGE:
            check_content(path, header)
            check_elements(self.packed, MAX_Z, self.name)

    def check(self) -> None:
        """Raise `InputError` unless every byte, edges too, is as it was written; at 2.5 GB/s."""
        check_content(self.path, read_header(self.path))
        for folder in sorted(self.path.glob("edges_*")):
            check_content(folder, read_header(folder))
        check_elements(self.packed, MAX_Z, self.name)

    @property
    def in_memory(self) -> bool:
        return not isinstance(self.packed, _Mapped)  # such as a set read from a file at hand

    def with_edges(self, cutoff: float, on_disk: bool | None = None) -> StructureDataset:
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
        header = _edges_header(folder)
        edges = map_columns(folder, header)
        stamp = [(folder / name).stat().st_mtime_ns for name in (*header["columns"], HEADER)]
        if _CHECKED.get(folder) != stamp:
            _check_edges(edges, whole.packed.ptr, folder)
            if content_size(header) <= _LARGE:
                check_content(folder, header)
            _CHECKED[folder] = stamp
        out = copy.copy(self)
        path, header, _, aliases = self.packed.__dict__["origin"]
        out.packed = _mapped(path, header, folder, aliases)
        out._edge_ptr = edges["edge_ptr"]
        return out


def _complete_edges(whole: StructureDataset, folder: Path, cutoff: float) -> None:
    """Have the edges of all structures in the folder; a process that comes second waits."""
    if not folder.exists():
        try:
            with create_columns(folder, {"cutoff": cutoff}, wait=True) as arrays:
                _append_edges(arrays, whole, cutoff)
        except InputError:
            if not folder.exists():  # else another process was first
                raise
    if _edges_header(folder)["columns"]["edge_ptr"]["rows"] - 1 < len(whole):
        with append_columns(folder, wait=True) as arrays:
            _append_edges(arrays, whole, cutoff)


def _append_edges(arrays: ColumnWriter, whole: StructureDataset, cutoff: float) -> None:
    first = max(0, arrays.rows("edge_ptr") - 1)
    for block in whole[first:].iter_chunks():
        edges = edges_per_structure(*block.materialize(), cutoff, block.name, first)
        append_offsets(arrays, "edge_ptr", edges.pop("count").numpy(), arrays.rows("edge_reverse"))
        for key, value in edges.items():
            arrays.append(key, (value.mT if key == "edge_index" else value).numpy())
        first += len(block)


def _edges_header(folder: Path) -> dict:
    """The header of a folder of edges; `InputError` for one of anything else."""
    header = read_header(folder)
    cutoff = header.get("cutoff")
    if (
        not {"edge_ptr", "edge_index", "edge_reverse"} <= header["columns"].keys()
        or type(cutoff) not in (int, float)
        or folder.name != f"edges_{float(cutoff)}"
    ):
        raise InputError(f"{folder}: does not hold edges of this cutoff; remove the folder")
    return header


class _Mapped(Structure):
    """Structures in files, which go to other processes by name."""

    def __reduce__(self):
        return _mapped, self.__dict__["origin"]


def _mapped(
    path: Path, header: dict, edges: Path | None = None, aliases: Mapping[str, str] | None = None
) -> _Mapped:
    columns = map_columns(path, header)
    _check_columns(columns, path)
    for key in [name.removesuffix(".text") for name in columns if name.endswith(".text")]:
        columns[key] = _Texts(columns.pop(f"{key}.text"), columns.pop(f"{key}.ptr"))
    columns |= {name: columns[field] for name, field in (aliases or {}).items()}
    if edges is not None:
        built = _edges_header(edges)
        edge_columns = map_columns(edges, built)
        edge_columns.pop("edge_ptr")
        columns |= {**edge_columns, "edge_index": edge_columns["edge_index"].mT}
        # one number, seen as many times as there are structures
        columns["edge_cutoff"] = edge_cutoff(1, built["cutoff"]).expand(len(columns["ptr"]) - 1)
    packed = _Mapped(**columns)
    packed.__dict__["origin"] = path, header, edges, aliases  # in `Data` it would be a field
    return packed


def _check_columns(columns: Mapping[str, Tensor], where: Path) -> None:
    """Raise `InputError` unless the columns have a row for each structure, atom or letter."""
    missing = {"ptr", "z", "pos"} - columns.keys()
    if missing:
        raise InputError(f"{where}: has no {min(missing)}; convert the data again")
    atoms, number = len(columns["z"]), len(columns["ptr"]) - 1
    _check_offsets(columns["ptr"], number, atoms, where / "ptr")
    for name, column in columns.items():
        field, _, part = name.partition(".")
        if part == "text":
            if f"{field}.ptr" not in columns or column.dtype != torch.uint8 or column.dim() != 1:
                raise InputError(f"{where / name}: is no text; convert the data again")
            _check_offsets(columns[f"{field}.ptr"], number, len(column), where / f"{field}.ptr")
        elif name != "ptr" and not part:
            rows = atoms if is_per_atom(name, column, atoms, number) else number
            shape = (rows, *_ROWS.get(name, column.shape[1:]))
            if tuple(column.shape) != shape or column.dtype not in _TYPES.get(
                name, (column.dtype,)
            ):
                raise InputError(
                    f"{where / name}: has shape {tuple(column.shape)} and type {column.dtype}, "
                    f"where {shape} is needed; convert the data again"
                )


def _check_edges(edges: Mapping[str, Tensor], ptr: Tensor, where: Path) -> None:
    """Raise `InputError` unless every edge joins two atoms of its own structure."""
    pairs, reverse, shift = edges["edge_index"], edges["edge_reverse"], edges.get("edge_shift")
    count = len(reverse)
    _check_offsets(edges["edge_ptr"], len(ptr) - 1, count, where / "edge_ptr")
    right = pairs.shape == (count, 2) and (shift is None or shift.shape == (count, 3))
    step = 512  # structures at once
    for first in range(0, len(ptr) - 1, step) if right else ():
        ends = edges["edge_ptr"][first : first + step + 1]
        some, numbers = slice(int(ends[0]), int(ends[-1])), ends.diff()
        atoms = ptr[first : first + step + 1].diff().repeat_interleave(numbers)
        right &= bool(((pairs[some] >= 0) & (pairs[some] < atoms.unsqueeze(1))).all())
        place, size = reverse[some], numbers.repeat_interleave(numbers)
        right &= bool(((place >= 0) & (place < size)).all())
    if not right:
        raise InputError(f"{where}: holds edges of other structures; remove the folder")


def _check_offsets(offsets: Tensor, number: int, rows: int, path: Path) -> None:
    """Raise `InputError` unless so many parts follow each other from 0 to the number of rows."""
    right = offsets.dtype == torch.int64 and offsets.shape == (number + 1,) and number >= 0
    if not right or offsets[0] != 0 or offsets[-1] != rows or bool((offsets.diff() < 0).any()):
        raise InputError(
            f"{path}: does not say where {number} parts of {rows} rows begin; it is damaged: get "
            "a fresh copy or convert the data again"
        )


class _Texts(Sequence):
    """Strings one after the other in UTF-8."""

    def __init__(self, text: Tensor, ptr: Tensor):
        self.text, self.ptr = text.numpy(), ptr.numpy()

    def __len__(self) -> int:
        return len(self.ptr) - 1

    def __getitem__(self, index: int) -> str:
        text = self.text[self.ptr[index] : self.ptr[index + 1]].tobytes()
        try:
            return text.decode()
        except UnicodeDecodeError:
            raise InputError(f"structure {index}: {text!r:.50} is no text in UTF-8") from None
