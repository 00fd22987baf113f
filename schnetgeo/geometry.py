"""Edge vectors, distances and strain: the one place that defines the direction of an edge."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.errors import InputError


def edge_vectors(data: Data) -> Float[Tensor, "E 3"]:
    """Vectors r_e = pos[j] − pos[i] + edge_shift · cell, from target i to source j, in Å.

    The difference is taken before the lattice vector is added, so that the vector of the reverse
    edge is exactly −r_e, in floating point too.

    Args:
        data: structure or batch with `pos` (N, 3), `edge_index` (2, E), row 0 the source j and
            row 1 the target i, and, where there are periodic images, `edge_shift` (E, 3) and
            `cell` (B, 3, 3).
    """
    source, target = data.edge_index
    vectors = data.pos.index_select(0, source) - data.pos.index_select(0, target)
    offset = lattice_offsets(data, vectors.dtype)
    return vectors if offset is None else vectors + offset


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


def strained(data: Data, strain: Float[Tensor, "B 3 3"]) -> tuple[Tensor, Tensor]:
    """Positions and cells under the symmetric part ε of `strain`: r → r + r·ε, a_k → a_k + a_k·ε.

    Only the symmetric part acts, so the derivative with respect to `strain` is symmetric.
    """
    symmetric = (strain + strain.mT) / 2
    per_atom = symmetric.index_select(0, batch_index(data))
    pos = data.pos + torch.bmm(data.pos.unsqueeze(1), per_atom).squeeze(1)
    cell = data.cell.to(strain.dtype)
    return pos, cell + cell @ symmetric
