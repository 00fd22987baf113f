"""What a structure must fulfill before anything is computed from it."""

import torch
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.errors import InputError

MIN_DISTANCE = 1e-3  # Å; closer atoms are "in one place"
_MAX_Z = 118
_SHAPES = {
    "pos": ("N", 3),
    "forces": ("N", 3),
    "cell": ("B", 3, 3),
    "pbc": ("B", 3),
    "energy": ("B",),
    "stress": ("B", 3, 3),
}


def validate(data: Data, where: str = "structure", max_z: int = _MAX_Z + 1) -> None:
    """Check one structure, a batch or a packed data set; return nothing or raise.

    Args:
        data: has `z` (N,), `pos` (N, 3) and `ptr` (B + 1,) unless it is a single structure;
            labels are checked where present.
        where: what the message calls the origin, such as the name of a file.
        max_z: atomic numbers must lie in 1 … max_z − 1.

    Raises:
        InputError: with origin, index of the structure, field, value and remedy.
    """
    ptr = data.get("ptr")
    if ptr is None:
        ptr = torch.tensor([0, data.z.numel()])
    ptr = ptr.cpu()
    _check_sizes(data, ptr, where)
    if data.get("energy") is not None and data.energy.dtype != torch.float64:
        raise InputError(
            f"{where}: energy has type {data.energy.dtype}, but energies are float64 from file to "
            "loss; give a float64 tensor"
        )
    _check_elements(data.z, ptr, where, max_z)
    for field in ("pos", "cell", "energy", "forces", "stress"):
        if data.get(field) is not None:
            _check_finite(data[field], ptr, where, field)
    if data.get("pbc") is not None and bool(data.pbc.any()):
        _check_cells(data, where)
    _check_places(data, ptr, where)


def check_elements(data: Data, max_z: int, where: str = "structure") -> None:
    """Raise `InputError` unless all atomic numbers lie in 1 … max_z − 1."""
    ptr = data.get("ptr")
    _check_elements(data.z, torch.tensor([0, data.z.numel()]) if ptr is None else ptr, where, max_z)


def _check_sizes(data: Data, ptr: Tensor, where: str) -> None:
    empty = (ptr.diff() == 0).nonzero()
    if ptr.numel() < 2 or empty.numel():
        index = int(empty[0]) if empty.numel() else 0
        raise InputError(f"{where}, structure {index}: it has no atoms; remove it")
    sizes = {"N": data.z.numel(), "B": ptr.numel() - 1}
    if data.z.dim() != 1 or data.z.is_floating_point() or int(ptr[-1]) != sizes["N"]:
        raise InputError(
            f"{where}: z must hold one integer per atom, shape ({int(ptr[-1])},); it has shape "
            f"{tuple(data.z.shape)} and type {data.z.dtype}"
        )
    for field, shape in _SHAPES.items():
        expected = tuple(sizes.get(n, n) for n in shape)
        if data.get(field) is not None and tuple(data[field].shape) != expected:
            raise InputError(
                f"{where}: {field} must have shape {expected}, got {tuple(data[field].shape)}"
            )


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


def _check_finite(values: Tensor, ptr: Tensor, where: str, field: str) -> None:
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


def _check_cells(data: Data, where: str) -> None:
    for pattern in data.pbc.unique(dim=0):
        if not pattern.any():
            continue
        members = (data.pbc == pattern).all(1).nonzero().flatten()
        rows = data.cell[members][:, pattern].double()
        lengths = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
        unit = rows / lengths.clamp(min=1e-300)
        volume = torch.linalg.det(unit @ unit.mT)  # squared, of unit vectors: 0 when dependent
        singular = ((volume < 1e-8) | (lengths < 1e-6).any(1).squeeze(-1)).nonzero()
        if singular.numel():
            index = int(members[singular[0, 0]])
            raise InputError(
                f"{where}, structure {index}: cell is singular although pbc is "
                f"{pattern.tolist()}: its periodic vectors {data.cell[index][pattern].tolist()} "
                "span no volume; set the cell or switch pbc off"
            )


def _check_places(data: Data, ptr: Tensor, where: str) -> None:
    pos = data.pos.double()
    batch = torch.arange(ptr.numel() - 1).repeat_interleave(ptr.diff()).to(pos.device)
    if data.get("pbc") is not None and bool(data.pbc.any()):
        pos = _wrap(pos, data, batch)
    grid = torch.cat([batch.unsqueeze(1), (pos / MIN_DISTANCE).round().long()], dim=1)
    primes = torch.tensor([1_000_003, 73_856_093, 19_349_663, 83_492_791], device=pos.device)
    order = (grid * primes).sum(1).argsort(stable=True)
    first, second = order[:-1], order[1:]
    same = (grid[first] == grid[second]).all(1).nonzero()
    if same.numel():
        a, b = sorted((int(first[same[0, 0]]), int(second[same[0, 0]])))
        structure, i = _locate(a, ptr)
        raise InputError(
            f"{where}, structure {structure}: atoms {i} and {_locate(b, ptr)[1]} are in one place, "
            f"{data.pos[a].tolist()} Å; remove one"
        )


def _wrap(pos: Tensor, data: Data, batch: Tensor) -> Tensor:
    """Positions folded into the cell along the periodic directions."""
    cell, pbc = completed_cell(data.cell.double(), data.pbc)
    inverse = torch.linalg.inv(cell).index_select(0, batch)
    fractional = torch.bmm(pos.unsqueeze(1), inverse).squeeze(1)
    # the grid decides "one place": −1e-17 must land beside 0, not beside 1
    shift = (fractional + 1e-9).floor() * pbc.index_select(0, batch)
    return torch.bmm((fractional - shift).unsqueeze(1), cell.index_select(0, batch)).squeeze(1)


def completed_cell(cell: Tensor, pbc: Tensor) -> tuple[Tensor, Tensor]:
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
    return out, pbc.to(cell.dtype)


def _locate(atom: int, ptr: Tensor) -> tuple[int, int]:
    structure = int(torch.searchsorted(ptr, atom, right=True)) - 1
    return structure, atom - int(ptr[structure])
