"""Types and shapes of the fields of a structure or batch."""

import torch
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.errors import InputError
from schnetgeo.geometry import atom_offsets, batch_index

_REMEDIES = {
    "Atoms": "pass schnetgeo.from_ase(atoms)",
    "dict": "pass Structure(**fields), from schnetgeo.data",
    "list": "pass Batch.from_data_list(structures), from torch_geometric.data",
    "tuple": "pass Batch.from_data_list(structures), from torch_geometric.data",
    "Dataset": "pass dataset[i], or the batches of a loader",
    "str": "read the file first, as schnetgeo.datasets.AtomsFile does",
    "PurePath": "read the file first, as schnetgeo.datasets.AtomsFile does",
    "object": "pass Structure(z=…, pos=…), from schnetgeo.data",
}
_SHAPES = {
    "pos": ("N", 3),
    "forces": ("N", 3),
    "cell": ("B", 3, 3),
    "pbc": ("B", 3),
    "energy": ("B",),
    "stress": ("B", 3, 3),
}


def check_type(data: Data, where: str = "data") -> None:
    """Raise `InputError` for anything but a structure or batch; the message says how to get one."""
    if not isinstance(data, Data):
        names = (base.__name__ for base in type(data).__mro__)
        remedy = next((_REMEDIES[name] for name in names if name in _REMEDIES), _REMEDIES["object"])
        raise InputError(
            f"{where} must be a Structure or Batch, got {type(data).__name__} {data!r:.40}; "
            f"{remedy}"
        )


def check_sizes(data: Data, where: str) -> Tensor:
    """Check types and shapes; return where each structure begins and the last one ends."""
    for field in ("z", *_SHAPES):
        value = data.get(field)
        if value is None and field in ("z", "pos"):
            raise InputError(f"{where}: {field} is missing; give one row for each atom")
        if value is not None and not torch.is_tensor(value):
            raise InputError(
                f"{where}: {field} must be a tensor, got {value!r:.50}; PyG would batch other "
                "numbers in float32"
            )
    check_z(data.z, where)
    _check_pointers(data, where)
    if bool((batch_index(data).diff() < 0).any()):
        raise InputError(f"{where}: batch must be sorted; keep the atoms of a structure together")
    ptr = atom_offsets(data)
    empty = (ptr.diff() == 0).nonzero()
    if empty.numel():
        raise InputError(f"{where}, structure {int(empty[0])}: it has no atoms; remove it")
    sizes = {"N": int(ptr[-1]), "B": ptr.numel() - 1}
    if data.z.numel() != sizes["N"]:
        raise InputError(f"{where}: z must have shape ({sizes['N']},), got ({data.z.numel()},)")
    for field, shape in _SHAPES.items():
        expected = tuple(sizes.get(n, n) for n in shape)
        if data.get(field) is not None and tuple(data[field].shape) != expected:
            raise InputError(
                f"{where}: {field} must have shape {expected}, got {tuple(data[field].shape)}"
            )
    if not data.pos.is_floating_point():
        raise InputError(f"{where}: pos must have a floating-point type, got {data.pos.dtype}")
    if data.get("pbc") is not None and data.pbc.dtype != torch.bool:
        raise InputError(f"{where}: pbc must have type torch.bool, got {data.pbc.dtype}")
    return ptr


def check_z(z: Tensor, where: str) -> None:
    """Raise `InputError` unless atomic numbers are integers, one for each atom."""
    if z.dim() != 1 or z.dtype not in (torch.int64, torch.int32):
        raise InputError(
            f"{where}: z must hold one integer per atom, shape (N,); it has shape "
            f"{tuple(z.shape)} and type {z.dtype}; give torch.int64, such as z.long()"
        )


def _check_pointers(data: Data, where: str) -> None:
    """`batch` must have an entry per atom, and `ptr` must cut the same structures."""
    number, batch, ptr = data.z.numel(), data.get("batch"), data.get("ptr")
    for name, value in (("batch", batch), ("ptr", ptr)):
        if value is None:
            continue
        if not torch.is_tensor(value) or value.dim() != 1 or value.dtype != torch.int64:
            raise InputError(
                f"{where}: {name} must be a tensor of int64, one row, got {value!r:.60}"
            )
    if batch is not None and batch.numel() != number:
        raise InputError(f"{where}: z must have shape ({batch.numel()},), got ({number},)")
    if ptr is None:
        return
    if ptr.numel() < 2 or int(ptr[0]) != 0 or bool((ptr.diff() < 0).any()):
        raise InputError(
            f"{where}: ptr must begin with 0 and ascend to the number of atoms, got "
            f"{ptr.tolist()!s:.60}"
        )
    if batch is not None and not torch.equal(batch.bincount(minlength=ptr.numel() - 1), ptr.diff()):
        raise InputError(f"{where}: ptr and batch cut different structures; delete one of them")
