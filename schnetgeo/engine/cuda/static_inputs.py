"""The arrays of a batch that a CUDA graph reads, a little longer than the batch.

An atom too many has weight 0 and no neighbors, an edge too many leads from the last such atom to
itself: all their adjoints are 0, so they change nothing.
"""

from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from schnetgeo import ops


class StaticInputs(NamedTuple):
    """What differs from batch to batch, or the longer arrays of a graph."""

    z: Int[Tensor, "N"]
    atom_weights: Float[Tensor, "N"]
    row_pointers: Int[Tensor, "N+1"]  # first edge of each atom
    distance: Float[Tensor, "E"]
    source: Int[Tensor, "E"]
    target: Int[Tensor, "E"]
    unit: Float[Tensor, "E 3"] | None  # where a convolution has a direction

    @classmethod
    def of(
        cls,
        z: Int[Tensor, "N"],
        atom_weights: Float[Tensor, "N"],
        edges: ops.Edges,
        distance: Float[Tensor, "E"],
        unit: Float[Tensor, "E 3"] | None,
    ) -> "StaticInputs":
        """Those of a batch."""
        arrays = z, atom_weights, edges.row_pointers, distance.detach(), edges.source, edges.target
        return cls(*(array.contiguous() for array in arrays), unit)

    @classmethod
    def zeros(cls, atoms: int, edges: int, like: Tensor, directed: bool) -> "StaticInputs":
        """Those of a graph for so many atoms and edges."""
        integers, real = partial(like.new_zeros, dtype=torch.long), like.new_zeros
        return cls(
            integers(atoms), real(atoms), integers(atoms + 1), real(edges),
            integers(edges), integers(edges), real(edges, 3) if directed else None,
        )  # fmt: skip

    @property
    def edges(self) -> ops.Edges:
        """The sorted edges; nothing reads the reverse of those of a graph."""
        return ops.Edges(self.source, self.target, self.row_pointers, reverse=self.source)

    def copy_to(self, longer: "StaticInputs", cutoff: float) -> None:
        """Write a batch into the arrays of a graph."""
        ops.get_backend(self.distance).copy_padded(self[:6], longer[:6], cutoff)
        if longer.unit is not None:
            longer.unit[: len(self.unit)].copy_(self.unit)  # others stay those of older batches


def padded_size(count: int) -> int:
    """So many or a little more, an eighth at most from 512 on."""
    step = max(64, 2 ** (count.bit_length() - 4))
    return -(-max(count, 1) // step) * step
