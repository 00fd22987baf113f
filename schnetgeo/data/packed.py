"""Many structures in a few tensors, and batches cut from them by indexing."""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from torch_geometric.data import Batch, Dataset

from schnetgeo.data.neighbors import with_edges
from schnetgeo.data.structure import PER_ATOM, PER_EDGE, Structure
from schnetgeo.data.validate import validate
from schnetgeo.errors import InputError

_BLOCK = 4096  # structures whose edges are built at once


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
        return self.packed.ptr.diff()[self._index()]

    def has(self, field: str) -> bool:
        """Whether the structures carry this attribute."""
        return self.packed.get(field) is not None

    def values(self, field: str) -> Tensor:
        """An attribute of all structures, concatenated, such as "energy" (B,) in eV."""
        index = self._index()
        rows = _rows(self.packed.ptr[index], self.packed.ptr.diff()[index])
        return self._pick(field, index, rows)

    def with_edges(self, cutoff: float) -> "PackedDataset":
        """A copy of these structures with their edges built once, for many epochs."""
        indices = torch.arange(len(self))
        blocks = [_local_edges(self.batch(i), cutoff) for i in indices.split(_BLOCK)]
        edge_index, edge_shift, edge_reverse, count = zip(*blocks, strict=True)
        out = copy.copy(self)
        out._indices = None
        out.packed = self._gather(self._index(indices))
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
        return self._assemble(self._index(torch.as_tensor(indices)))

    def _index(self, indices: Tensor | None = None) -> Tensor:
        if self._indices is None:
            own = torch.arange(self.len())
        else:
            own = torch.as_tensor(self._indices, dtype=torch.long)
        return own if indices is None else own[indices]

    def _gather(self, index: Tensor) -> Structure:
        """The chosen structures in a row, with `ptr`, without edges."""
        out = Structure()
        size = self.packed.ptr.diff()[index]
        rows = _rows(self.packed.ptr[index], size)
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
            count = self._edge_ptr.diff()[index]
            edges, first = _rows(self._edge_ptr[index], count), _offsets(count)
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
        if key in PER_EDGE:
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


def _local_edges(batch: Batch, cutoff: float) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Edges that count atoms and edges from the start of their own structure, and their number."""
    batch = with_edges(batch, cutoff)
    structure = batch.batch[batch.edge_index[1]]
    count = structure.bincount(minlength=batch.num_graphs)
    local = (batch.edge_index - batch.ptr[structure]).int()
    reverse = (batch.edge_reverse - _offsets(count)[structure]).int()
    shift = batch.get("edge_shift")
    return local, None if shift is None else shift.to(torch.int16), reverse, count


def _offsets(sizes: Tensor) -> Tensor:
    """0, sizes[0], sizes[0] + sizes[1], …"""
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def _rows(start: Tensor, count: Tensor) -> Tensor:
    """start[0] … start[0] + count[0] − 1, start[1] …, in one tensor."""
    shift = start - (count.cumsum(0) - count)
    return torch.arange(int(count.sum())) + shift.repeat_interleave(count)
