"""Rows of chosen structures out of arrays that have those of all structures one after the other."""

from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from schnetgeo.ops.jit import serial


class RowRanges:
    """Where the rows of some structures are, and where they come to lie one after the other.

    What is counted per structure is counted on the CPU, what has a row per atom or edge is made on
    the device of the arrays, and no device is waited for.

    Args:
        ptr: first row of each structure and, at the end, the number of rows; on the CPU.
        index: the chosen structures.
        device: of the arrays.
    """

    def __init__(self, ptr: Int[Tensor, "M"], index: np.ndarray, device: torch.device):
        ends = ptr.numpy()
        first = ends[index]
        self.first, self.sizes = torch.from_numpy(first), torch.from_numpy(ends[index + 1] - first)
        self.ptr, self.device = ptr_from_sizes(self.sizes), device

    @cached_property
    def rows(self) -> Int[Tensor, "R"]:
        """first[k], first[k] + 1, … of one chosen structure after the other."""
        shift = self.repeat(self.first - self.ptr[:-1])
        return torch.arange(shift.numel(), device=self.device).add_(shift)

    def repeat(self, values: Int[Tensor, "B"]) -> Int[Tensor, "R"]:
        """A number of each structure, for each of its rows."""
        values, sizes = values.to(self.device), self.sizes.to(self.device)
        return values.repeat_interleave(sizes, output_size=int(self.ptr[-1]))

    def gather(self, array: Tensor) -> Tensor:
        """The rows of an array."""
        return array.index_select(0, self.rows)

    def gather_add(self, array: Tensor, shift: Int[Tensor, "B"], axis: int) -> Tensor:
        """The rows along `axis` as int64, each plus the number of its structure."""
        if array.device.type == "cpu":
            return self._compiled(array, shift, axis)
        return self._indexed(array, shift, axis)

    def _indexed(self, array: Tensor, shift: Tensor, axis: int) -> Tensor:
        shift = self.repeat(shift)
        shift = shift.unsqueeze(1) if axis < array.dim() - 1 else shift
        return array.index_select(axis, self.rows) + shift  # smaller integers and int64

    def _compiled(self, array: Tensor, shift: Tensor, axis: int) -> Tensor:
        shape = list(array.shape)
        shape[axis] = int(self.ptr[-1])
        out = torch.empty(shape, dtype=torch.int64)
        runs = self.first.numpy(), self.sizes.numpy(), shift.numpy()
        for column, result in zip(_columns(array, axis), _columns(out, axis), strict=True):
            _copy_shifted(column, *runs, result)
        return out


def ptr_from_sizes(sizes: Int[Tensor, "B"]) -> Int[Tensor, "B+1"]:
    """0, sizes[0], sizes[0] + sizes[1], …"""
    ptr = sizes.new_zeros(len(sizes) + 1)
    torch.cumsum(sizes, 0, out=ptr[1:])
    return ptr


def _columns(array: Tensor, axis: int) -> list[np.ndarray]:
    array = array.numpy()
    return [array] if array.ndim == 1 else list(array if axis == 1 else array.T)


@serial
def _copy_shifted(column, first, sizes, shift, out):
    n = 0
    for k in range(first.shape[0]):
        run = column[first[k] : first[k] + sizes[k]]
        for e in range(run.shape[0]):
            out[n + e] = run[e] + shift[k]
        n += run.shape[0]
