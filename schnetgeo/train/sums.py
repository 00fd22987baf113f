"""Sums of errors over a batch, and how many labels they are of."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Batch

from schnetgeo.data.structure import mask_name
from schnetgeo.errors import InputError
from schnetgeo.potential.prediction import Prediction
from schnetgeo.targets import Target
from schnetgeo.train.loss import FunctionLoss, Loss


class Sum(NamedTuple):
    """A sum over structures, or atoms, that have a label, and their number."""

    total: Tensor
    count: Tensor | int


def add_sums(batches: Iterable[list[Sum]]) -> list[Sum]:
    """The sums over all structures of several batches."""
    return [
        Sum(sum(part.total for part in parts), sum(part.count for part in parts))
        for parts in zip(*batches, strict=True)
    ]


def error_sum(loss: Loss, target: Target, predicted: Tensor | None, batch: Batch) -> Sum:
    """Σ error over the labels of a batch, and the number of structures, or atoms, that have one."""
    mask = batch.get(mask_name(target.name))
    if predicted is None:  # where no structure of the batch has the label
        return Sum(batch.pos.new_zeros(()), mask.sum())
    of_atoms, per_atom = target.per == "atom", loss.per == "atom"
    difference = predicted - batch[target.name].to(predicted)
    difference = difference.reshape(len(difference), -1)
    known = mask[batch.batch] if of_atoms and mask is not None else mask
    if known is not None:  # a label that is missing may be nan, and so may the gradient then
        difference = torch.where(known.unsqueeze(1), difference, 0.0)
    if per_atom and not of_atoms:
        difference = difference / batch.ptr.diff().unsqueeze(1)
    errors = _checked(loss.error(difference), len(difference), f"error of {target.name}")
    if known is not None:
        errors = torch.where(known, errors, 0.0)
    if of_atoms and not per_atom:
        errors, known = errors / batch.ptr.diff()[batch.batch], mask
        count = batch.num_graphs if mask is None else mask.sum()
    elif of_atoms:  # whose number is another in each process
        count = torch.tensor(len(errors), device=errors.device) if known is None else known.sum()
    else:
        count = len(errors) if known is None else known.sum()
    return Sum(errors.sum(), count)


def function_sum(loss: FunctionLoss, prediction: Prediction, batch: Batch) -> Sum:
    """Σ of a function's values over the structures of a batch."""
    values, number = loss.function(prediction, batch), batch.num_graphs
    if not torch.is_tensor(values) or values.shape not in ((), (number,)):
        raise InputError(
            f"the loss {loss} must give one number, or one for each of {number} structures, got "
            f"{_shape(values)}; end it with .mean()"
        )
    return Sum(values.sum() if values.dim() else number * values, number)


def _checked(errors: Tensor, number: int, what: str) -> Tensor:
    if not torch.is_tensor(errors) or errors.shape != (number,):
        raise InputError(
            f"{what} must give one number for each of {number} rows of differences, got "
            f"{_shape(errors)}; end it with .sum(1)"
        )
    return errors


def _shape(value: object) -> str:
    return f"shape {tuple(value.shape)}" if torch.is_tensor(value) else type(value).__name__
