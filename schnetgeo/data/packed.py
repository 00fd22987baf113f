"""Many structures in a few tensors, and batches cut from them by indexing."""

import copy
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch_geometric.data import Batch, Dataset

from schnetgeo.data.gather import RowRanges, ptr_from_sizes
from schnetgeo.data.graph import edge_cutoff
from schnetgeo.data.merge import Remarks, merged, sizes_of
from schnetgeo.data.names import check_name
from schnetgeo.data.packed_edges import edges_per_structure
from schnetgeo.data.structure import GRAPH, PER_EDGE, Structure, is_per_atom, mask_name
from schnetgeo.data.validate import check_geometry, check_labels, validate
from schnetgeo.errors import InputError
from schnetgeo.targets import Target

_BLOCK = 4096  # structures worked on at once
_FINGERPRINTED = ("z", "pos", "energy", "forces", "cell", "pbc", "stress")
_SMALL_INTEGERS = (torch.uint8, torch.int8, torch.int16)  # that files have as atomic numbers
_BATCH = type(Batch(_base_cls=Structure))


class StructureDataset(Dataset):
    """A PyG data set that holds one `Structure` with the atoms of all structures in a row.

    `dataset[i]` is a `Structure`; slices, lists and masks give a data set that shares memory;
    `dataset.batch(indices)` is what `Batch.from_data_list` gives, without a Python object for
    each molecule. With a `dataset.transform` it is what `Batch.from_data_list` gives for the
    transformed structures; `values`, `iter_chunks` and `packed` are those before it.

    Args:
        packed: `z` (ΣN,), `pos` (ΣN, 3), labels and other attributes of all structures.
        sizes: atoms of each structure.
        name: what error messages call the origin, such as the name of a file.
        validated: the structures come out of data sets, and need not be looked at again.

    Attributes:
        labels: targets beside energy, forces and stress whose values are among the attributes, in
            the unit of the target.
        pools: indices of structures to train on, to test on and to validate on, where their authors
            say so.
        max_train: on how many structures their authors ask to train at most.

    Raises:
        InputError: names the first structure that breaks a rule of `validate`, or a field that
            cannot be called so.
    """

    pools: tuple[Tensor, Tensor, Tensor | None] | None = None
    max_train: int | None = None

    def __init__(
        self,
        packed: Structure,
        sizes: Int[Tensor, "B"],
        name: str = "data set",
        validated: bool = False,
    ):
        super().__init__()
        for key in packed.keys():
            if key != "ptr":  # which is written anew below
                check_name(key, name)
        if bool((sizes < 0).any()):
            index = int((sizes < 0).nonzero()[0])
            raise InputError(f"{name}, structure {index}: it has {int(sizes[index])} atoms")
        self.packed = copy.copy(packed)
        if torch.is_tensor(packed.z) and packed.z.dtype in _SMALL_INTEGERS:
            self.packed.z = packed.z.long()
        self.packed.ptr = ptr_from_sizes(sizes)
        self.name = name
        self.labels: tuple[Target, ...] = ()
        self._edge_ptr = None
        if not validated:
            self._validate()

    @classmethod
    def from_list(
        cls,
        structures: Sequence[Structure],
        name: str = "data set",
        remarks: Remarks | None = None,
    ) -> "StructureDataset":
        """Pack structures; what some of them lack is treated as `merged` says.

        Args:
            structures: without edges.
            name: what error messages call the origin.
            remarks: is told what was filled in or left out, instead of a note.

        Raises:
            InputError: names the first structure that cannot be packed.
        """
        if not structures:
            raise InputError(f"{name}: holds no structures")
        log = Remarks() if remarks is None else remarks
        packed = merged(structures, [1] * len(structures), name, log)
        if remarks is None:
            log.say(name, len(structures))
        return cls(packed, sizes_of(structures), name)

    @property
    def in_memory(self) -> bool:
        """Whether the structures are in memory, all at once, and not on disk."""
        return True

    @property
    def num_atoms(self) -> Int[Tensor, "B"]:
        """Atoms of each structure."""
        index, ptr = self._index(), self.packed.ptr.numpy()
        return torch.from_numpy(ptr[index + 1] - ptr[index])

    @property
    def fingerprint(self) -> str:
        """Sixteen digits that stand for these structures and their labels, in their order."""
        content = hashlib.sha256(str(len(self)).encode())
        for block in self.iter_chunks():
            for name in filter(block.has_property, _FINGERPRINTED):
                content.update(block.get_property(name).cpu().numpy().tobytes())
        return content.hexdigest()[:16]

    def has_property(self, field: str) -> bool:
        """Whether the structures carry this attribute."""
        return self.packed.get(field) is not None

    def has_label(self, label: str) -> bool:
        """Whether some of the structures have this label."""
        if not self.has_property(label):
            return False
        mask = self.mask(label)
        return isinstance(mask, slice) or bool(mask.any())

    def mask(self, label: str) -> Tensor | slice:
        """What chooses the rows of a label that are there: all, or those of some structures."""
        if not self.has_property(mask_name(label)):
            return slice(None)
        mask = self.get_property(mask_name(label))
        return mask.repeat_interleave(self.num_atoms) if self.is_per_atom(label) else mask

    def is_per_atom(self, field: str) -> bool:
        """Whether an attribute has a row for each atom, and not one for each structure."""
        return is_per_atom(field, self.packed[field], self.packed.z.numel(), self.len())

    def get_property(self, field: str) -> Tensor:
        """An attribute of all structures, concatenated, such as "energy" (B,) in eV."""
        index, value = self._index(), self.packed[field]
        if self.is_per_atom(field):
            return self._row_ranges(self.packed.ptr, index).gather(value)
        return _select_rows(value, index, torch.from_numpy(index).to(self.packed.z.device))

    def iter_chunks(self, size: int = _BLOCK) -> Iterator["StructureDataset"]:
        """The same structures in order, `size` at a time: for sums over more than memory holds."""
        for first in range(0, len(self), size):
            yield self[first : first + size]

    def materialize(self) -> tuple[Structure, Int[Tensor, "B"]]:
        """A copy of all structures in a row, without edges, and the atoms of each."""
        index = self._index()
        atoms = self._row_ranges(self.packed.ptr, index)
        fields = self._select(index, atoms)
        return Structure(**{k: v for k, v in fields.items() if k not in GRAPH}), atoms.sizes

    def with_edges(self, cutoff: float) -> "StructureDataset":
        """A copy of these structures with their edges built once, for many epochs.

        With a transform, which may move atoms, there are none: the model builds them each time.
        """
        if self.transform is not None:
            return self
        edges = [
            edges_per_structure(*block.materialize(), cutoff, self.name, k * _BLOCK)
            for k, block in enumerate(self.iter_chunks(_BLOCK))
        ]
        out = copy.copy(self)
        out._indices = None
        out.packed, sizes = self.materialize()
        out.packed.ptr = ptr_from_sizes(sizes)
        out.packed.edge_cutoff = edge_cutoff(len(self), cutoff)
        for key in filter(edges[0].__contains__, PER_EDGE):
            axis = out.packed.__cat_dim__(key, None)
            out.packed[key] = torch.cat([block[key] for block in edges], dim=axis)
        out._edge_ptr = ptr_from_sizes(torch.cat([block["count"] for block in edges]))
        return out

    def to(self, device: torch.device | str) -> "StructureDataset":
        """The same structures on a device, where their batches are made without waiting for it."""
        out = copy.copy(self)
        # counts per structure stay here, and so does text
        moved = {k: v.to(device) for k, v in self.packed.to_dict().items() if torch.is_tensor(v)}
        out.packed = Structure(**self.packed.to_dict() | moved | {"ptr": self.packed.ptr})
        return out

    def len(self) -> int:
        return self.packed.ptr.numel() - 1

    def get(self, idx: int) -> Structure:
        return self._collate(np.array([idx]))[0]

    def index_select(self, idx) -> "StructureDataset":
        """The data set of the structures that a slice, list or mask chooses; it shares memory."""
        if isinstance(idx, slice):
            return super().index_select(idx)
        out = copy.copy(self)
        out._indices = self._index(idx)
        return out

    def batch(self, indices: Sequence[int] | Tensor) -> Batch:
        """The structures at these positions of the data set as one PyG batch."""
        index = self._index(indices)
        if self.transform is None:
            return self._collate(index)
        batch = Batch.from_data_list([self.transform(self.get(i)) for i in index.tolist()])
        check_labels(batch, f"{self.name}, transformed")
        return batch

    def transformed(self) -> "StructureDataset":
        """These structures after one pass through the transform, if there is one."""
        if self.transform is None:
            return self
        return StructureDataset.from_list(list(self), self.name)

    def _validate(self) -> None:
        """Check block after block, which needs a fraction of the memory of all at once."""
        check_geometry(self.packed, self.name)
        for key, value in self.packed.to_dict().items():
            per_atom = is_per_atom(key, value, self.packed.z.numel(), self.len())
            rows = self.packed.z.numel() if per_atom else self.len()
            many = isinstance(value, Sequence) or np.ndim(value) > 0
            if key != "ptr" and (not many or len(value) != rows):
                raise InputError(
                    f"{self.name}: {key} must have {rows} rows, one for each "
                    f"{'atom' if per_atom else 'structure'}, got "
                    f"{len(value) if many else repr(value)}"
                )
        try:
            for block in self.iter_chunks():
                structures, sizes = block.materialize()
                structures.ptr = ptr_from_sizes(sizes)
                validate(structures, self.name)
        except InputError:
            validate(self.packed, self.name)  # it knows the number of the structure
            raise

    def _index(self, indices: Sequence[int] | Tensor | None = None) -> np.ndarray:
        """Where the structures at these positions of the data set, or all, are in `packed`."""
        order = self.indices()
        is_range = isinstance(order, range)
        if indices is None:
            return np.arange(order.start, order.stop, order.step) if is_range else order
        chosen = np.asarray(indices)
        if chosen.dtype == bool and chosen.shape == (len(order),):
            chosen = chosen.nonzero()[0]
        chosen = chosen.reshape(-1)
        if not chosen.size:
            return np.empty(0, np.int64)
        size = len(order)
        if chosen.dtype.kind not in "iu" or chosen.max() >= size or chosen.min() < -size:
            raise IndexError(
                f"{self.name}: positions must be integers below {size}, the number of "
                f"structures, got {str(chosen):.50}"
            )
        chosen = chosen % size  # negative ones count from the end
        return order.start + order.step * chosen if is_range else order[chosen]

    def _select(self, index: np.ndarray, atoms: RowRanges) -> dict[str, Tensor | list]:
        """All attributes but `ptr` and the edges of the structures `index`."""
        place = torch.from_numpy(index).to(atoms.device)
        return {
            key: atoms.gather(value) if self.is_per_atom(key) else _select_rows(value, index, place)
            for key, value in self.packed.to_dict().items()
            if key != "ptr" and key not in PER_EDGE
        }

    def _collate(self, index: np.ndarray) -> Batch:
        atoms = self._row_ranges(self.packed.ptr, index)
        fields = self._select(index, atoms)
        number, none = torch.arange(index.size + 1), torch.zeros(index.size, dtype=torch.long)
        slices = {key: atoms.ptr if self.is_per_atom(key) else number for key in fields}
        increments = {k: none if torch.is_tensor(v) else None for k, v in fields.items()}
        if self._edge_ptr is not None:
            edges = self._row_ranges(self._edge_ptr, index)
            first_atom, first_edge = atoms.ptr[:-1], edges.ptr[:-1]
            increment = {"edge_index": first_atom, "edge_reverse": first_edge, "edge_shift": none}
            for key in filter(self.packed.__contains__, PER_EDGE):
                axis = 1 if key == "edge_index" else 0
                fields[key] = edges.gather_add(self.packed[key], increment[key], axis)
                slices[key], increments[key] = edges.ptr, increment[key]
        fields |= {"batch": atoms.repeat(number[:-1]), "ptr": atoms.ptr.to(atoms.device)}
        # PyG's own constructor inspects its signature each time, longer than all the rest takes
        batch = type.__call__(_BATCH)
        batch.stores[0].update(fields)
        batch._num_graphs, batch._slice_dict, batch._inc_dict = index.size, slices, increments
        return batch

    def _row_ranges(self, ptr: Tensor, index: np.ndarray) -> RowRanges:
        return RowRanges(ptr, index, self.packed.z.device)


def _select_rows(value: Tensor | Sequence, index: np.ndarray, place: Tensor) -> Tensor | list:
    """Rows of what structures have; `place` is `index` where tensors are."""
    if torch.is_tensor(value):
        return value.index_select(0, place)
    return [value[i] for i in index.tolist()]
