"""Many structures in a few tensors, and batches cut from them by indexing."""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from torch_geometric.data import Batch, Dataset

from schnetgeo.data.neighbors import edge_cutoff, with_edges
from schnetgeo.data.structure import GRAPH, PER_ATOM, PER_EDGE, Structure
from schnetgeo.data.validate import validate
from schnetgeo.errors import InputError
from schnetgeo.geometry import batch_index, num_structures

_BLOCK = 4096  # structures whose edges are built at once
_MOST_CELLS = 2**15 - 1  # that an edge can cross: shifts are packed as int16


class PackedDataset(Dataset):
    """A PyG data set that holds one `Structure` with the atoms of all structures in a row.

    `dataset[i]` is a `Structure`; slices, lists and masks give a data set that shares memory;
    `dataset.batch(indices)` is what `Batch.from_data_list` gives, without a Python object for
    each molecule.

    Args:
        packed: `z` (ΣN,), `pos` (ΣN, 3), labels and other attributes of all structures.
        sizes: atoms of each structure.
        where: what error messages call the origin, such as the name of a file.

    Raises:
        InputError: names the first structure that breaks a rule of `validate`.
    """

    def __init__(self, packed: Structure, sizes: Int[Tensor, "B"], where: str = "data set"):
        super().__init__()
        self.packed = copy.copy(packed)
        self.packed.ptr = _offsets(sizes)
        self.where = where
        self._edge_ptr = None
        self._own = torch.arange(self.len())  # which of the packed structures are in the data set
        validate(self.packed, where)

    @classmethod
    def from_list(cls, structures: Sequence[Structure], where: str = "data set"):
        """Pack structures that carry the same attributes."""
        if not structures:
            raise InputError(f"{where}: holds no structures")
        for index, structure in enumerate(structures):
            _check_alike(structure, structures[0], f"{where}, structure {index}")
        packed = Structure()
        for key in structures[0].keys():  # noqa: SIM118
            values = [s[key] for s in structures]
            packed[key] = torch.cat(values) if torch.is_tensor(values[0]) else values
        sizes = torch.tensor([s.z.numel() for s in structures])
        return cls(packed, sizes, where)

    @property
    def num_atoms(self) -> Int[Tensor, "B"]:
        """Atoms of each structure."""
        return _spans(self.packed.ptr, self._own)[1]

    def has(self, field: str) -> bool:
        """Whether the structures carry this attribute."""
        return self.packed.get(field) is not None

    def values(self, field: str) -> Tensor:
        """An attribute of all structures, concatenated, such as "energy" (B,) in eV."""
        rows = _rows(*_spans(self.packed.ptr, self._own))
        return self._pick(field, self._own, rows)

    def with_edges(self, cutoff: float) -> "PackedDataset":
        """A copy of these structures with their edges built once, for many epochs."""
        indices = torch.arange(len(self))
        parts = (self._gather(self._own[i]) for i in indices.split(_BLOCK))
        blocks = [_local_edges(p, cutoff, self.where, k * _BLOCK) for k, p in enumerate(parts)]
        edge_index, edge_shift, edge_reverse, count = zip(*blocks, strict=True)
        out = copy.copy(self)
        out._indices, out._own = None, indices
        out.packed = self._gather(self._own)
        out.packed.edge_cutoff = edge_cutoff(len(self), cutoff)
        out.packed.edge_index = torch.cat(edge_index, dim=1)
        out.packed.edge_reverse = torch.cat(edge_reverse)
        if edge_shift[0] is not None:
            out.packed.edge_shift = torch.cat(edge_shift)
        out._edge_ptr = _offsets(torch.cat(count))
        return out

    def len(self) -> int:
        return self.packed.ptr.numel() - 1

    def get(self, idx: int) -> Structure:
        return self._assemble(torch.tensor([idx]))[0]

    def batch(self, indices: Sequence[int] | Tensor) -> Batch:
        """The structures at these positions of the data set as one PyG batch."""
        return self._assemble(self._own[torch.as_tensor(indices)])

    def index_select(self, idx) -> "PackedDataset":
        out = super().index_select(idx)
        out._own = torch.as_tensor(out._indices, dtype=torch.long)  # once, not for each batch
        return out

    def _gather(self, index: Tensor) -> Structure:
        """The chosen structures in a row, with `ptr`, without edges."""
        out = Structure()
        start, size = _spans(self.packed.ptr, index)
        rows = _rows(start, size)
        for key in self.packed.to_dict():
            if key == "ptr" or key in PER_EDGE:
                continue
            out[key] = self._pick(key, index, rows)
        out.ptr = _offsets(size)
        return out

    def _pick(self, key: str, index: Tensor, rows: Tensor) -> Tensor | list:
        """One attribute of the structures `index`, whose atoms are `rows`."""
        value = self.packed[key]
        if not torch.is_tensor(value):
            return [value[i] for i in index.tolist()]
        return value.index_select(0, rows if key in PER_ATOM else index)

    def _assemble(self, index: Tensor) -> Batch:
        chosen = self._gather(index).to_dict()
        ptr = chosen.pop("ptr")
        every = torch.arange(index.numel() + 1)
        none = torch.zeros_like(index)
        slices = {k: ptr if k in PER_ATOM else every for k in chosen}
        increments = {k: none if torch.is_tensor(v) else None for k, v in chosen.items()}
        batch = Batch(_base_cls=Structure, **chosen)
        if self._edge_ptr is not None:
            start, count = _spans(self._edge_ptr, index)
            edges, first = _rows(start, count), _offsets(count)
            own = {"edge_index": ptr[:-1], "edge_reverse": first[:-1], "edge_shift": none}
            for key in own.keys() & self.packed.keys():
                axis = self.packed.__cat_dim__(key, None)
                value = self.packed[key].index_select(axis, edges).long()
                if key != "edge_shift":
                    value += own[key].repeat_interleave(count)
                batch[key], slices[key], increments[key] = value, first, own[key]
        batch.batch = torch.arange(index.numel()).repeat_interleave(ptr.diff())
        batch.ptr = ptr
        batch._num_graphs, batch._slice_dict, batch._inc_dict = index.numel(), slices, increments
        return batch


def _check_alike(structure: Structure, first: Structure, where: str) -> None:
    """Raise `InputError` unless a structure can be packed with the first one."""
    odd = set(first.keys()) ^ set(structure.keys())
    if odd:
        has = "lacks" if odd & set(first.keys()) else "has"
        raise InputError(
            f"{where}: {has} {min(odd)!r}, unlike structure 0; give it to all structures or to none"
        )
    for key, value in structure.to_dict().items():
        if key in GRAPH:
            raise InputError(
                f"{where}: has {key!r} already; pack it without edges, then call with_edges"
            )
        if torch.is_tensor(value) and torch.is_tensor(first[key]):
            rows = structure.z.numel() if key in PER_ATOM else 1
            shape = (rows, *first[key].shape[1:])
            if tuple(value.shape) != shape:
                hint = "" if key in PER_ATOM else f"; per atom are only {', '.join(PER_ATOM)}"
                raise InputError(
                    f"{where}: {key} must have shape {shape}, got {tuple(value.shape)}{hint}"
                )
        elif type(value) is not type(first[key]):
            raise InputError(
                f"{where}: {key} is a {type(value).__name__}, but a {type(first[key]).__name__} "
                "in structure 0; give one type to all structures"
            )


def _local_edges(
    part: Structure, cutoff: float, where: str, first: int
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Edges that count atoms and edges from the start of their own structure, and their number."""
    part = with_edges(part, cutoff)
    structure = batch_index(part)[part.edge_index[1]]
    count = structure.bincount(minlength=num_structures(part))
    local = (part.edge_index - part.ptr[structure]).int()
    reverse = (part.edge_reverse - _offsets(count)[structure]).int()
    shift = part.get("edge_shift")
    far = [] if shift is None else (shift.abs() > _MOST_CELLS).any(1).nonzero()
    if len(far):
        raise InputError(
            f"{where}, structure {first + int(structure[far[0]])}: an edge crosses the cell "
            f"{shift[far[0]].flatten().tolist()} times, more than {_MOST_CELLS}; wrap the atoms "
            "into their cell"
        )
    return local, None if shift is None else shift.to(torch.int16), reverse, count


def _offsets(sizes: Tensor) -> Tensor:
    """0, sizes[0], sizes[0] + sizes[1], …"""
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def _spans(ptr: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Where each chosen structure begins, and how many rows it has."""
    start = ptr[index]
    return start, ptr[index + 1] - start


def _rows(start: Tensor, count: Tensor) -> Tensor:
    """start[0] … start[0] + count[0] − 1, start[1] …, in one tensor."""
    shift = start - (count.cumsum(0) - count)
    return torch.arange(int(count.sum())) + shift.repeat_interleave(count)
