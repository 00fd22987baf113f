"""What a structure must fulfill before anything is computed from it."""

import math

import torch
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.data.overlaps import MIN_DISTANCE, check_overlaps
from schnetgeo.data.shapes import check_sizes, check_type, check_z
from schnetgeo.data.structure import LABELS, MAX_Z, is_per_atom, labels_in, mask_name
from schnetgeo.errors import InputError
from schnetgeo.geometry import atom_offsets, batch_index, locate_atom


def validate(data: Data, where: str = "data", max_z: int = MAX_Z) -> None:
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
    ptr = atom_offsets(data)
    _check_elements(data.z, ptr, where, max_z)
    if data.get("energy") is not None and data.energy.dtype != torch.float64:
        raise InputError(
            f"{where}: energy has type {data.energy.dtype}, but energies are float64 from file to "
            "loss; give a float64 tensor"
        )
    check_labels(data, where)
    check_overlaps(data, ptr, where)


def check_geometry(data: Data, where: str = "data") -> None:
    """Raise `InputError` unless all shapes agree and positions and cells can make a graph."""
    check_type(data, where)
    ptr = check_sizes(data, where)
    for field in ("pos", "cell"):
        _check_finite(data, ptr, where, field)
    if data.get("pbc") is not None and bool(data.pbc.any()):
        _check_cells(data, where)


def check_labels(data: Data, where: str = "data") -> None:
    """Raise `InputError` unless the labels are finite where no mask says that they are absent."""
    masked = [field for field in labels_in(data.keys()) if mask_name(field) in data]
    for field in {*LABELS, *masked}:
        _check_finite(data, atom_offsets(data), where, field)


def check_input(data: Data, max_z: int) -> None:
    """Raise `InputError` unless a potential can compute on these atoms.

    Numbers are not looked at on a GPU, which would have to be waited for.
    """
    check_type(data)
    z, pos = data.get("z"), data.get("pos")
    if not (torch.is_tensor(z) and torch.is_tensor(pos)):
        check_sizes(data, "data")
    check_z(z, "data")
    if pos.shape != (z.numel(), 3) or not pos.is_floating_point():
        raise InputError(
            f"pos must have shape ({z.numel()}, 3), a row per atom in Å, and a floating-point "
            f"type, got {tuple(pos.shape)} and {pos.dtype}"
        )
    if z.device.type == "cpu":
        check_elements(data, max_z)
        if not math.isfinite(float(pos.detach().sum())):  # of lengths in Å, which do not overflow
            _check_finite(data, atom_offsets(data), "data", "pos")


def check_elements(data: Data, max_z: int, where: str = "data") -> None:
    """Raise `InputError` unless all atomic numbers lie in 1 … max_z − 1."""
    if data.z.numel():
        low, high = data.z.aminmax()
        if int(low) > 0 and int(high) < max_z:
            return
    _check_elements(data.z, atom_offsets(data), where, max_z)


def _check_elements(z: Tensor, ptr: Tensor, where: str, max_z: int) -> None:
    bad = ((z < 1) | (z >= max_z)).nonzero()
    if bad.numel():
        atom = int(bad[0])
        structure, local = locate_atom(atom, ptr)
        remedy = "raise max_z of the model" if int(z[atom]) < MAX_Z and z[atom] > 0 else "mend it"
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
    per_atom = is_per_atom(field, values, int(ptr[-1]), len(ptr) - 1)
    structure, entry = locate_atom(first[0], ptr) if per_atom else (first[0], None)
    index = first[1:] if entry is None else [entry, *first[1:]]
    name = f"{field}{index}" if index else field
    raise InputError(
        f"{where}, structure {structure}: {name} is {value}, but must be finite; "
        "mend or remove this structure"
    )


def _without_absent(data: Data, values: Tensor, field: str) -> Tensor:
    """The values, with zeros for structures that lack the label by its mask."""
    mask = data.get(mask_name(field))
    if mask is None:
        return values
    rows = mask[batch_index(data)] if len(values) > len(mask) else mask
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
