"""The sorted, symmetric edge list that the spline operators run on."""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from schnetgeo.errors import InputError


class Edges(NamedTuple):
    """Directed edges j → i sorted by target, each with its reverse in the list.

    Atom i owns the edges `start[i]` … `start[i + 1] − 1`, so that a sum over neighbors is a loop,
    not a scatter, and needs no atomic operation.
    """

    source: Int[Tensor, "E"]
    target: Int[Tensor, "E"]
    start: Int[Tensor, "N+1"]
    reverse: Int[Tensor, "E"]

    @classmethod
    def of(cls, edge_index: Int[Tensor, "2 E"], reverse: Int[Tensor, "E"], num: int) -> "Edges":
        """The edges among `num` atoms, checked where no device has to be waited for.

        Args:
            edge_index: row 0 the source j, row 1 the target i, sorted by target.
            reverse: position of i → j for each edge j → i.
            num: number of atoms.

        Raises:
            InputError: for edges that are not sorted by target or lack their reverse.
        """
        source, target = edge_index.contiguous()
        if source.device.type == "cpu":
            _check(source, target, reverse, num)
        start = torch.searchsorted(target, torch.arange(num + 1, device=target.device))
        return cls(source, target, start, reverse)


def _check(source: Tensor, target: Tensor, reverse: Tensor, num: int) -> None:
    if bool((target[1:] < target[:-1]).any()):
        raise InputError(
            "edge_index[1], the targets, must not decrease; sort the edges by target, or take "
            "filters='exact'"
        )
    if target.numel() and not 0 <= int(target[0]) <= int(target[-1]) < num:
        raise InputError(
            f"edge_index[1], the targets, must lie in 0 … {num - 1} for {num} atoms, got "
            f"{int(target[0])} … {int(target[-1])}"
        )
    back = source.index_select(0, reverse), target.index_select(0, reverse)
    if not (torch.equal(back[0], target) and torch.equal(back[1], source)):
        raise InputError(
            "edge_reverse must point from each edge j → i to the edge i → j; give every edge its "
            "reverse, or take filters='exact'"
        )
