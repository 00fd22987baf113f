"""Edges of a graph as the spline operators take them."""

from jaxtyping import Int
from torch import Tensor

from schnetgeo.ops.backend import get_backend
from schnetgeo.ops.edges import Edges


def edges_from_index(
    edge_index: Int[Tensor, "2 E"],
    reverse: Int[Tensor, "E"],
    num: int,
    shift: Int[Tensor, "E 3"] | None = None,
) -> Edges:
    """The edges among `num` atoms, checked where no device has to be waited for.

    Args:
        edge_index: row 0 the source j, row 1 the target i, sorted by target.
        reverse: position of i → j for each edge j → i.
        num: number of atoms.
        shift: lattice vectors that each edge crosses, minus those of its reverse.

    Raises:
        InputError: for edges that are not sorted by target or lack their reverse.
    """
    source, target = edge_index.contiguous()
    pointers = get_backend(source).row_pointers(source, target, reverse, shift, num)
    return Edges(source, target, pointers, reverse)
