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
    def of(
        cls,
        edge_index: Int[Tensor, "2 E"],
        reverse: Int[Tensor, "E"],
        num: int,
        shift: Int[Tensor, "E 3"] | None = None,
    ) -> "Edges":
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
        if source.device.type == "cpu":
            _check(source, target, reverse, shift, num)
        start = torch.searchsorted(target, torch.arange(num + 1, device=target.device))
        return cls(source, target, start, reverse)


def _check(source: Tensor, target: Tensor, reverse: Tensor, shift: Tensor | None, num: int) -> None:
    if bool((target[1:] < target[:-1]).any()):
        raise InputError(
            "edge_index[1], the targets, must not decrease; sort the edges by target, or take "
            "filters='exact'"
        )
    if target.numel() and not 0 <= int(target[0]) <= int(target[-1]) < num:
        raise InputError(
            f"edge_index must lie in 0 … {num - 1}, got targets {int(target[0])} … "
            f"{int(target[-1])}"
        )
    if not _symmetric(source, target, reverse, shift):
        raise InputError(
            "edge_reverse must point from each edge j → i to the edge i → j; give every edge its "
            "reverse, or take filters='exact'"
        )


def _symmetric(source: Tensor, target: Tensor, reverse: Tensor, shift: Tensor | None) -> bool:
    if reverse.numel() != source.numel():
        return False
    if reverse.numel() and not 0 <= int(reverse.min()) <= int(reverse.max()) < reverse.numel():
        return False
    there = torch.equal(source.index_select(0, reverse), target)
    back = torch.equal(target.index_select(0, reverse), source)
    return there and back and (shift is None or torch.equal(shift.index_select(0, reverse), -shift))
