"""The sorted, symmetric edge list that the spline operators run on."""

from typing import NamedTuple

from jaxtyping import Int
from torch import Tensor


class Edges(NamedTuple):
    """Directed edges j → i sorted by target, each with its reverse in the list.

    Atom i owns the edges `row_pointers[i]` … `row_pointers[i + 1] − 1`, so that a sum over
    neighbors is a loop, not a scatter, and needs no atomic operation.
    """

    source: Int[Tensor, "E"]
    target: Int[Tensor, "E"]
    row_pointers: Int[Tensor, "N+1"]
    reverse: Int[Tensor, "E"]
