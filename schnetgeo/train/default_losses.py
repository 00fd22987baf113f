"""Losses for what a potential predicts, where a user names none."""

from dataclasses import replace

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.statistics import reference_weights
from schnetgeo.potential.potential import Potential
from schnetgeo.targets import ENERGY
from schnetgeo.train.checks import check_label, check_target
from schnetgeo.train.configuration import TrainingConfig
from schnetgeo.train.loss import Loss, mae, mse
from schnetgeo.train.tasks import task_losses

_MOST = 2000  # structures that the size of a loss is taken from


def with_default_losses(
    training: TrainingConfig, potential: Potential, train: StructureDataset
) -> TrainingConfig:
    """The same training, with a loss on each target where the potential predicts more than energy.

    Losses that the user names stay as they are. Energy and forces have the losses of the task, or
    of the energy alone where there are no forces. Before training, each further target weighs as
    much as forces, or else the energy: as if nothing but the references were predicted.

    Args:
        training: of which task, rho and the kind of the loss count.
        potential: with references fitted.
        train: structures to learn from.
    """
    if training.losses or [target.name for target in potential.targets] == [ENERGY.name]:
        return training
    check_target(train, potential.targets)
    for target in potential.targets:
        if train.has_property(target.name):
            check_label(train, target.name)
    some = train.transformed()[:: max(1, len(train) // _MOST)]
    losses: list[Loss] = []
    if potential.has_energy:
        task = training.task if train.has_label("forces") else "energy"
        losses += task_losses(task, training.rho, training.loss)
    error = mae if training.loss == "mae" else mse
    further = [target.name for target in potential.targets if target.name != ENERGY.name]
    first = losses[-1] if losses else Loss(further[0], error)
    unit = first.weight * loss_of_references(first, potential, some)
    for name in further:
        size = loss_of_references(Loss(name, error), potential, some)
        losses.append(Loss(name, error, float(f"{unit / size:.2g}") if size else 1.0))
    preset = {name: getattr(TrainingConfig, name) for name in ("task", "loss", "rho")}
    return replace(training, **preset, losses=losses)


def loss_of_references(loss: Loss, potential: Potential, dataset: StructureDataset) -> float:
    """The mean error of the references of a target, or of 0 where it has none; 0 without labels."""
    if not dataset.has_label(loss.target):
        return 0.0
    label = dataset.get_property(loss.target)[dataset.mask(loss.target)].double()
    references = {out.target.name: out.atomic_references for out in potential.outputs}
    e0 = references.get(loss.target)
    if e0 is not None:
        counts = reference_weights(dataset, potential.model.max_z, e0.mean)[
            dataset.mask(loss.target)
        ]
        label = label - counts @ e0.values.cpu()
    return float(loss.error(label.reshape(len(label), -1)).mean())
