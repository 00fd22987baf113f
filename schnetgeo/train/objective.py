"""The weighted sum of losses that a training minimizes."""

from collections.abc import Iterable, Sequence

from torch import Tensor
from torch_geometric.data import Batch

from schnetgeo.data.structure import mask_name
from schnetgeo.errors import InputError
from schnetgeo.potential import Potential
from schnetgeo.potential.prediction import Prediction
from schnetgeo.targets import DERIVATIVES, ENERGY, Target
from schnetgeo.train.loss import FunctionLoss, Loss, LossFunction
from schnetgeo.train.loss_text import as_loss
from schnetgeo.train.sums import Sum, error_sum, function_sum

DERIVATIVE_NAMES = tuple(target.name for target in DERIVATIVES)


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
        if not any(loss.weight for loss in self.losses):
            raise InputError(
                f"losses {' '.join(map(str, self.losses))} all have the weight 0, so that nothing "
                "is trained; give one a weight above 0"
            )
        known = self._predicted = {target.name: target for target in targets}
        names = [loss.target for loss in self.losses if isinstance(loss, Loss)]
        for name in names:
            if name not in known:
                raise InputError(
                    f"a loss is on {name}, which the model does not predict; it predicts "
                    f"{', '.join(known)}; name one of these, or train a model of {name} (--targets)"
                )
        self.targets = {name: known[name] for name in names}
        for loss in self.losses:
            if isinstance(loss, Loss):
                _check_weighting(loss, self.targets[loss.target])
        self.has_function = any(isinstance(loss, FunctionLoss) for loss in self.losses)

    def __call__(self, prediction: Prediction, batch: Batch) -> Tensor:
        return self.mean(self.sums(prediction, batch))

    def predict(self, potential: Potential, batch: Batch) -> Prediction:
        """The prediction for a batch, with the derivatives that the losses look at."""
        needs = {name: self._needs(name, batch) for name in DERIVATIVE_NAMES}
        return potential(batch, **needs)

    def _needs(self, derivative: str, batch: Batch) -> bool:
        if derivative == "forces" and derivative in self.targets:  # no GPU is waited for
            return True
        looked_at = self._predicted if self.has_function else self.targets
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


def _check_weighting(loss: Loss, target: Target) -> None:
    if loss.per == "atom" and target.per == "structure" and not target.extensive:
        raise InputError(
            f"a loss is on {target.name} per atom, which does not grow with the number of atoms; "
            "leave per='atom' (/atom) away"
        )
