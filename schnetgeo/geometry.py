"""Edge vectors, distances and strain: the one place that defines the direction of an edge."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.errors import InputError


def edge_vectors(data: Data) -> Float[Tensor, "E 3"]:
    """Vectors r_e = pos[j] − pos[i] + edge_shift · cell, from target i to source j, in Å.

    Everything is computed in float64 and the result has the type of `pos`, so that positions far
    from the origin, or many cells away, lose nothing. The difference is taken before the lattice
    vector is added, so that the vector of the reverse edge is exactly −r_e, in floating point too.

    Args:
        data: structure or batch with `pos` (N, 3), `edge_index` (2, E), row 0 the source j and
            row 1 the target i, and, where there are periodic images, `edge_shift` (E, 3) and
            `cell` (B, 3, 3). `pos_residual` (N, 3), where it is there, is added to `pos`: what a
            potential lost when it rounded the positions to the type of its model.
    """
    source, target = data.edge_index
    pos, residual = data.pos.double(), data.get("pos_residual")
    pos = pos if residual is None else pos + residual
    vectors = pos.index_select(0, source) - pos.index_select(0, target)
    offset = lattice_offsets(data, vectors.dtype)
    vectors = vectors if offset is None else vectors + offset
    return vectors.to(data.pos.dtype)


def lattice_offsets(data: Data, dtype: torch.dtype) -> Float[Tensor, "E 3"] | None:
    """edge_shift · cell of each edge in this type; `None` where there is no `edge_shift`."""
    shift = data.get("edge_shift")
    if shift is None:
        return None
    if shift.shape != (data.edge_index.size(1), 3):
        raise InputError(
            f"edge_shift must have shape ({data.edge_index.size(1)}, 3), a row per edge, got "
            f"{tuple(shift.shape)}"
        )
    structure = batch_index(data).index_select(0, data.edge_index[1])
    cell = data.cell.to(dtype).index_select(0, structure)
    return lattice_vectors(shift, cell)


def lattice_vectors(
    shift: Int[Tensor, "E 3"], cell: Float[Tensor, "E 3 3"]
) -> Float[Tensor, "E 3"]:
    """Σ_k shift_k a_k for the cell vectors a_k of each edge, odd in `shift` to the last bit."""
    first, second, third = (shift.to(cell.dtype).unsqueeze(-1) * cell).unbind(1)
    return first + second + third


def distances(vectors: Float[Tensor, "E 3"]) -> Float[Tensor, "E"]:
    """Lengths |r_e|, with gradient 0 instead of NaN where two atoms coincide."""
    squared = vectors.square().sum(-1)
    safe = torch.where(squared > 0, squared, torch.ones_like(squared))
    return torch.where(squared > 0, safe.sqrt(), squared)


def batch_index(data: Data) -> Int[Tensor, "N"]:
    """The structure that each atom belongs to; zeros for a single structure."""
    batch, ptr = data.get("batch"), data.get("ptr")
    if batch is not None:
        return batch
    if ptr is None:
        return torch.zeros(data.z.size(0), dtype=torch.long, device=data.z.device)
    return torch.arange(ptr.numel() - 1, device=ptr.device).repeat_interleave(ptr.diff())


def num_structures(data: Data) -> int:
    """B, the number of structures: 1 unless there is a `ptr` (B + 1,) or a `batch` (N,)."""
    batch, ptr = data.get("batch"), data.get("ptr")
    if ptr is not None:
        return ptr.numel() - 1
    return 1 if batch is None else int(batch.max()) + 1


def apply_strain(data: Data, strain: Float[Tensor, "B 3 3"]) -> tuple[Tensor, Tensor]:
    """Positions and cells under the symmetric part ε of `strain`: r → r + r·ε, a_k → a_k + a_k·ε.

    Only the symmetric part acts, so the derivative with respect to `strain` is symmetric. Where
    there are edges, r is counted from the first atom of its structure, which leaves their vectors
    as they are: rounding of the derivative would grow with the distance from the origin.
    """
    symmetric, batch, pos = (strain + strain.mT) / 2, batch_index(data), data.pos
    if data.get("edge_index") is not None:
        first = torch.searchsorted(batch, torch.arange(len(strain), device=batch.device))
        pos = pos - pos.detach().index_select(0, first.index_select(0, batch))
    moved = torch.bmm(pos.unsqueeze(1), symmetric.index_select(0, batch)).squeeze(1)
    return data.pos + moved, data.cell + data.cell @ symmetric.to(data.cell.dtype)


def fractional_coordinates(data: Data, pos: Tensor, batch: Tensor) -> tuple[Tensor, Tensor]:
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


def atom_offsets(data: Data) -> Tensor:
    """Index of the first atom of each structure and, at the end, N; on the CPU."""
    ptr = data.get("ptr")
    if ptr is None:
        count = batch_index(data).bincount(minlength=1).cpu()
        ptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
    return ptr.cpu()


def locate_atom(atom: int, ptr: Tensor) -> tuple[int, int]:
    """The structure that an atom belongs to, and its number there, by `atom_offsets`."""
    structure = int(torch.searchsorted(ptr, atom, right=True)) - 1
    return structure, atom - int(ptr[structure])


def squared_lengths(vectors: Tensor) -> Tensor:
    """x² + y² + z², the same to the last bit for −r as for r, and faster than a sum over three."""
    x, y, z = vectors.unbind(1)
    return x * x + y * y + z * z
