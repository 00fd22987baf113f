"""What becomes of predictions when structures are turned, renumbered or put into one batch."""

from collections.abc import Sequence

import torch
from torch import Tensor

from schnetgeo.potential import Prediction
from schnetgeo.targets import DERIVATIVES, Target


def turned(prediction: Prediction, targets: Sequence[Target], q: Tensor) -> Prediction:
    """The prediction for structures whose positions are r @ q: vectors v @ q, tensors qᵀ a q."""
    turn = {(): lambda y: y, (3,): lambda v: v @ q, (3, 3): lambda a: q.T @ a @ q}
    shapes = {target.name: target.shape for target in (*targets, *DERIVATIVES)}
    return Prediction.of({name: turn[shapes[name]](y) for name, y in prediction.items()})


def renumbered(
    prediction: Prediction, targets: Sequence[Target], orders: Sequence[Tensor]
) -> Prediction:
    """The prediction for structures whose atoms stand in another order."""
    per_atom = {target.name for target in (*targets, *DERIVATIVES) if target.per == "atom"}

    def reordered(values: Tensor) -> Tensor:
        parts = values.split([order.numel() for order in orders])
        return torch.cat([part[order] for part, order in zip(parts, orders, strict=True)])

    return Prediction.of(
        {name: reordered(y) if name in per_atom else y for name, y in prediction.items()}
    )


def concatenate(predictions: Sequence[Prediction]) -> Prediction:
    """The prediction for all structures in one batch."""
    names = dict(predictions[0].items())
    return Prediction.of({name: torch.cat([p[name] for p in predictions]) for name in names})
