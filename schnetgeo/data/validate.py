"""What a structure must fulfill before anything is computed from it."""

import itertools
import math

import torch
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.data.structure import MASKS
from schnetgeo.errors import InputError
from schnetgeo.geometry import batch_index, lattice_vectors

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
MIN_DISTANCE = 1e-3  # Å; closer atoms are "in one place"
_MAX_Z = 118
_MOST_STEPS = 64  # neighbors along a line that are compared
_PRIMES = (73_856_093, 19_349_663, 83_492_791)  # spread boxes over keys
_ASKEW = (0.5377, 0.7124, 0.4509)  # a direction along which no crystal has its atoms in layers
_SHAPES = {
    "pos": ("N", 3),
    "forces": ("N", 3),
    "cell": ("B", 3, 3),
    "pbc": ("B", 3),
    "energy": ("B",),
    "stress": ("B", 3, 3),
}


def validate(data: Data, where: str = "data", max_z: int = _MAX_Z + 1) -> None:
    """Check one structure, a batch or a packed data set; return nothing or raise.

    Args:
        data: has `z` (N,), `pos` (N, 3) and, unless it is a single structure, `ptr` (B + 1,) or
            `batch` (N,); labels are checked where present.
        where: what the message calls the origin, such as the name of a file.
        max_z: atomic numbers must lie in 1 … max_z − 1.

    Raises:
        InputError: with origin, index of the structure, field, value and remedy.
    """
    check_geometry(data, where)
    ptr = _offsets(data)
    _check_elements(data.z, ptr, where, max_z)
    if data.get("energy") is not None and data.energy.dtype != torch.float64:
        raise InputError(
            f"{where}: energy has type {data.energy.dtype}, but energies are float64 from file to "
            "loss; give a float64 tensor"
        )
    check_labels(data, where)
    _check_places(data, ptr, where)


def check_geometry(data: Data, where: str = "data") -> None:
    """Raise `InputError` unless all shapes agree and positions and cells can make a graph."""
    check_type(data, where)
    ptr = _check_sizes(data, where)
    for field in ("pos", "cell"):
        _check_finite(data, ptr, where, field)
    if data.get("pbc") is not None and bool(data.pbc.any()):
        _check_cells(data, where)


def check_labels(data: Data, where: str = "data") -> None:
    """Raise `InputError` unless the labels are finite where no mask says that they are absent."""
    for field in MASKS:
        _check_finite(data, _offsets(data), where, field)


def check_type(data: Data, where: str = "data") -> None:
    """Raise `InputError` for anything but a structure or batch; the message says how to get one."""
    if not isinstance(data, Data):
        names = (base.__name__ for base in type(data).__mro__)
        remedy = next((_REMEDIES[name] for name in names if name in _REMEDIES), _REMEDIES["object"])
        raise InputError(
            f"{where} must be a Structure or Batch, got {type(data).__name__} {data!r:.40}; "
            f"{remedy}"
        )


def check_input(data: Data, max_z: int) -> None:
    """Raise `InputError` unless a potential can compute on these atoms.

    Numbers are not looked at on a GPU, which would have to be waited for.
    """
    check_type(data)
    z, pos = data.get("z"), data.get("pos")
    if not (torch.is_tensor(z) and torch.is_tensor(pos)):
        _check_sizes(data, "data")
    _check_z(z, "data")
    if pos.shape != (z.numel(), 3) or not pos.is_floating_point():
        raise InputError(
            f"pos must have shape ({z.numel()}, 3), a row per atom in Å, and a floating-point "
            f"type, got {tuple(pos.shape)} and {pos.dtype}"
        )
    if z.device.type == "cpu":
        check_elements(data, max_z)
        if not math.isfinite(float(pos.detach().sum())):  # of lengths in Å, which do not overflow
            _check_finite(data, _offsets(data), "data", "pos")


def check_elements(data: Data, max_z: int, where: str = "data") -> None:
    """Raise `InputError` unless all atomic numbers lie in 1 … max_z − 1."""
    if data.z.numel():
        low, high = data.z.aminmax()
        if int(low) > 0 and int(high) < max_z:
            return
    _check_elements(data.z, _offsets(data), where, max_z)


def _check_sizes(data: Data, where: str) -> Tensor:
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
    _check_z(data.z, where)
    _check_pointers(data, where)
    if bool((batch_index(data).diff() < 0).any()):
        raise InputError(f"{where}: batch must be sorted; keep the atoms of a structure together")
    ptr = _offsets(data)
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


def _check_z(z: Tensor, where: str) -> None:
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


def _check_elements(z: Tensor, ptr: Tensor, where: str, max_z: int) -> None:
    bad = ((z < 1) | (z >= max_z)).nonzero()
    if bad.numel():
        atom = int(bad[0])
        structure, local = _locate(atom, ptr)
        remedy = "raise max_z of the model" if int(z[atom]) <= _MAX_Z and z[atom] > 0 else "mend it"
        raise InputError(
            f"{where}, structure {structure}: z[{local}] = {int(z[atom])} is not an atomic number "
            f"from 1 to {max_z - 1}; {remedy}"
        )


def _check_finite(data: Data, ptr: Tensor, where: str, field: str) -> None:
    values = data.get(field)
    if values is None or bool(torch.isfinite(values).all()):
        return
    values = _without_absent(data, values, field)
    if bool(torch.isfinite(values).all()):
        return
    first = [int(i) for i in (~torch.isfinite(values)).nonzero()[0]]
    value = float(values[tuple(first)])
    structure, entry = _locate(first[0], ptr) if field in ("pos", "forces") else (first[0], None)
    index = first[1:] if entry is None else [entry, *first[1:]]
    name = f"{field}{index}" if index else field
    raise InputError(
        f"{where}, structure {structure}: {name} is {value}, but must be finite; "
        "mend or remove this structure"
    )


def _without_absent(data: Data, values: Tensor, field: str) -> Tensor:
    """The values, with zeros for structures that lack the label by its mask."""
    mask = data.get(MASKS.get(field, ""))
    if mask is None:
        return values
    rows = mask[batch_index(data)] if field == "forces" else mask
    return values.masked_fill(~rows.reshape(-1, *[1] * (values.dim() - 1)), 0.0)


def _check_cells(data: Data, where: str) -> None:
    if data.get("cell") is None:
        raise InputError(f"{where}: pbc is set but cell is missing; set the cell or switch pbc off")
    for pattern in data.pbc.unique(dim=0):
        if not pattern.any():
            continue
        members = (data.pbc == pattern).all(1).nonzero().flatten()
        rows = data.cell[members][:, pattern].double()
        lengths = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
        unit = rows / lengths.clamp(min=1e-300)
        volume = torch.linalg.det(unit @ unit.mT)  # squared, of unit vectors: 0 when dependent
        singular = ((volume < 1e-8) | (lengths < MIN_DISTANCE).any(1).squeeze(-1)).nonzero()
        if singular.numel():
            index = int(members[singular[0, 0]])
            raise InputError(
                f"{where}, structure {index}: cell is singular although pbc is "
                f"{pattern.tolist()}: its periodic vectors {data.cell[index][pattern].tolist()} "
                "span no volume; set the cell or switch pbc off"
            )


def _check_places(data: Data, ptr: Tensor, where: str) -> None:
    batch, pos = batch_index(data), data.pos.double()
    atom = torch.arange(batch.numel(), device=batch.device)
    periodic = data.get("pbc") is not None and bool(data.pbc.any())
    if periodic:
        atom, pos = _wrapped(data, pos, batch)
    pair = _close_pair(pos, batch[atom])
    if pair is not None:
        a, b = sorted(atom[pair].tolist())
        (structure, i), (_, j) = _locate(a, ptr), _locate(b, ptr)
        raise InputError(
            f"{where}, structure {structure}: atoms {i} and {j} are in one place, closer than "
            f"{MIN_DISTANCE} Å: {data.pos[a].tolist()} and {data.pos[b].tolist()} Å"
            f"{', or periodic images of these' if periodic else ''}; remove one"
        )


def _wrapped(data: Data, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Atoms moved into the cell, and again just above it where they are just above its floor."""
    coordinates, inverse_height = fractional(data, pos, batch)
    atom = torch.arange(batch.numel(), device=batch.device)
    shift = torch.where(data.pbc[batch], -coordinates.floor(), 0.0)
    for k in range(3):
        structure = batch[atom]
        margin = MIN_DISTANCE * inverse_height[structure, k]
        near = (coordinates[atom, k] + shift[:, k] < margin) & data.pbc[structure, k]
        step = shift.new_zeros(3)
        step[k] = 1
        atom, shift = torch.cat([atom, atom[near]]), torch.cat([shift, shift[near] + step])
    return atom, pos[atom] + lattice_vectors(shift, data.cell.double()[batch[atom]])


def _close_pair(pos: Tensor, batch: Tensor) -> Tensor | None:
    """Two points of one structure closer than `MIN_DISTANCE`, if there are any.

    Such points are close along every line too, so neighbors along one that is askew to all
    crystals are compared, then second neighbors, until none is close. Points in a plane across
    the line would all be neighbors: they are compared within the boxes of a grid.
    """
    line = pos @ pos.new_tensor(_ASKEW)
    order = line.argsort()
    order = order[batch[order].argsort(stable=True)]
    for step in range(1, min(order.numel(), _MOST_STEPS)):
        first, second = order[:-step], order[step:]
        near = (line[second] - line[first] < MIN_DISTANCE) & (batch[first] == batch[second])
        if not near.any():
            return None
        pair = _first_close(pos, first[near], second[near])
        if pair is not None:
            return pair
    return _close_pair_in_boxes(pos, batch) if order.numel() > _MOST_STEPS else None


def _close_pair_in_boxes(pos: Tensor, batch: Tensor) -> Tensor | None:
    """The same by eight grids, half a box apart along each axis: a close pair shares one box.

    A box is 2 · `MIN_DISTANCE` wide, so it has no room for many points that are not close.
    """
    for corner in itertools.product((0, 1), repeat=3):
        box = (pos / MIN_DISTANCE + pos.new_tensor(corner)).div(2).floor().long()
        # boxes that share a key by accident cost time, and no pair is lost
        key = (box * box.new_tensor(_PRIMES)).sum(1) + batch * _PRIMES[0] ** 2
        key, order = key.sort()
        for step in range(1, order.numel()):
            same = key[step:] == key[:-step]
            if not same.any():
                break
            first, second = order[:-step][same], order[step:][same]
            together = batch[first] == batch[second]
            pair = _first_close(pos, first[together], second[together])
            if pair is not None:
                return pair
    return None


def _first_close(pos: Tensor, first: Tensor, second: Tensor) -> Tensor | None:
    """The first of these pairs that is closer than `MIN_DISTANCE`."""
    distance = torch.linalg.vector_norm(pos[first] - pos[second], dim=1)
    close = (distance < MIN_DISTANCE).nonzero()
    return torch.stack([first[close[0, 0]], second[close[0, 0]]]) if close.numel() else None


def fractional(data: Data, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates (N, 3) along the vectors of completed cells, and 1 / height of these, (B, 3)."""
    inverse = torch.linalg.inv(completed_cell(data.cell.detach().double(), data.pbc))
    coordinates = torch.bmm(pos.unsqueeze(1), inverse.index_select(0, batch)).squeeze(1)
    return coordinates, torch.linalg.vector_norm(inverse, dim=1)


def completed_cell(cell: Tensor, pbc: Tensor) -> Tensor:
    """Cells (B, 3, 3) whose non-periodic rows are replaced by unit vectors normal to the others.

    The result is invertible whenever the periodic rows are independent, and its fractional
    coordinates along the periodic rows are unaffected by what stood in the other rows.
    """
    out = torch.where(pbc.unsqueeze(-1), cell, torch.zeros_like(cell))
    for k in range(3):
        # the last right singular vector is normal to every row that is filled
        missing = ~pbc[:, k]
        if bool(missing.any()):
            normal = torch.linalg.svd(out[missing], full_matrices=True).Vh[:, -1]
            out[missing, k] = normal
    return out


def _offsets(data: Data) -> Tensor:
    """Index of the first atom of each structure and, at the end, N; on the CPU."""
    ptr = data.get("ptr")
    if ptr is None:
        count = batch_index(data).bincount(minlength=1).cpu()
        ptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
    return ptr.cpu()


def _locate(atom: int, ptr: Tensor) -> tuple[int, int]:
    structure = int(torch.searchsorted(ptr, atom, right=True)) - 1
    return structure, atom - int(ptr[structure])
