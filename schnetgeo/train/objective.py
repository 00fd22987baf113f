"""The weighted sum of losses that a training minimizes."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Batch

from schnetgeo.data.structure import mask_name
from schnetgeo.errors import InputError
from schnetgeo.potential import Potential
from schnetgeo.potential.prediction import Prediction
from schnetgeo.targets import DERIVATIVES, ENERGY, Target
from schnetgeo.train.loss import FunctionLoss, Loss, LossFunction
from schnetgeo.train.loss_text import as_loss

DERIVATIVE_NAMES = tuple(target.name for target in DERIVATIVES)


class Sum(NamedTuple):
    """A sum over structures, or atoms, that have a label, and their number."""

    total: Tensor
    count: Tensor | int


class Objective:
    """ℓ = Σ_k w_k ℓ_k with the mean error ℓ_k of each loss over the structures with its label.

    A label that structures lack by the mask `<target>_mask` (B,) of a batch counts for nothing.

    Args:
        losses: `Loss` objects, functions of (prediction, batch), or text as on the command line.
        targets: what the model predicts.

    Raises:
        InputError: for no losses, a target that the model does not predict, or a weighting by atoms
            of a target that does not grow with their number.
    """

    def __init__(
        self,
        losses: Iterable[Loss | FunctionLoss | LossFunction | str],
        targets: Sequence[Target] = (ENERGY, *DERIVATIVES),
    ):
        self.losses = tuple(map(as_loss, losses))
        if not self.losses:
            raise InputError("losses must not be empty; give one, such as Loss('energy')")
        known = self._predicted = {target.name: target for target in targets}
        names = [loss.target for loss in self.losses if isinstance(loss, Loss)]
        for name in names:
            if name not in known:
                raise InputError(
                    f"a loss is on {name}, which the model does not predict; it predicts "
                    f"{', '.join(known)}"
                )
        self.targets = {name: known[name] for name in names}
        for loss in self.losses:
            if isinstance(loss, Loss):
                _check_weighting(loss, self.targets[loss.target])
        self._has_function = any(isinstance(loss, FunctionLoss) for loss in self.losses)

    def __call__(self, prediction: Prediction, batch: Batch) -> Tensor:
        return self.mean(self.sums(prediction, batch))

    def predict(self, potential: Potential, batch: Batch) -> Prediction:
        """The prediction for a batch, with the derivatives that the losses look at."""
        needs = {name: self._needs(name, batch) for name in DERIVATIVE_NAMES}
        return potential(batch, **needs)

    def _needs(self, derivative: str, batch: Batch) -> bool:
        if derivative == "forces" and derivative in self.targets:  # no GPU is waited for
            return True
        looked_at = self._predicted if self._has_function else self.targets
        return derivative in looked_at and has_label(batch, derivative)

    def sums(self, prediction: Prediction, batch: Batch) -> list[Sum]:
        """Σ error of each loss over a batch."""
        values = dict(prediction.items())
        return [
            function_sum(loss, prediction, batch)
            if isinstance(loss, FunctionLoss)
            else error_sum(loss, self.targets[loss.target], values.get(loss.target), batch)
            for loss in self.losses
        ]

    def mean(self, sums: Sequence[Sum]) -> Tensor:
        """ℓ from sums over one batch, or over several whose sums and counts were added."""
        terms = zip(self.losses, sums, strict=True)
        return sum(loss.weight * total / (count + (count == 0)) for loss, (total, count) in terms)


def add_sums(batches: Iterable[list[Sum]]) -> list[Sum]:
    """The sums over all structures of several batches."""
    return [
        Sum(sum(part.total for part in parts), sum(part.count for part in parts))
        for parts in zip(*batches, strict=True)
    ]


def predicted_targets(potential: Potential) -> tuple[Target, ...]:
    """What a potential predicts, derivatives of the energy too."""
    return (*potential.targets, *(DERIVATIVES if potential.has_energy else ()))


def predict_labels(potential: Potential, batch: Batch) -> Prediction:
    """The prediction for a batch, with the derivatives of which it has labels."""
    has_energy = potential.has_energy
    return potential(
        batch, **{name: has_energy and has_label(batch, name) for name in DERIVATIVE_NAMES}
    )


def has_label(batch: Batch, name: str) -> bool:
    """Whether some structure of a batch has a label."""
    mask = batch.get(mask_name(name))
    return batch.get(name) is not None and (mask is None or bool(mask.any()))


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


def _check_weighting(loss: Loss, target: Target) -> None:
    if loss.per == "atom" and target.per == "structure" and not target.extensive:
        raise InputError(
            f"a loss is on {target.name} per atom, which does not grow with the number of atoms; "
            "leave per='atom' (/atom) away"
        )
