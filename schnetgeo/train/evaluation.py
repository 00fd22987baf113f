"""Errors of predictions against the labels of a data set."""

from collections.abc import Iterable

from schnetgeo.data.packed import StructureDataset
from schnetgeo.errors import InputError
from schnetgeo.potential.ensemble import Ensemble
from schnetgeo.potential.potential import Potential
from schnetgeo.potential.prediction import Prediction
from schnetgeo.targets import DERIVATIVES, ENERGY, FORCES, STRESS, Target
from schnetgeo.train.checks import check_label, check_not_empty, check_shape
from schnetgeo.train.error_table import error_table
from schnetgeo.train.metrics import Metrics, metrics_of
from schnetgeo.train.objective import predicted_targets
from schnetgeo.train.predict import predict


class Evaluation(dict[str, Metrics]):
    """Errors of each target that has labels, by its name: `errors["forces"].mae`."""

    def __missing__(self, name: str) -> Metrics:
        raise InputError(
            f"there are no errors of {name!r:.60}, but of {', '.join(self) or 'nothing'}; a target "
            "needs a prediction and labels"
        )

    def __str__(self) -> str:
        return error_table(self.values())

    def as_row(self) -> dict[str, float | str]:
        """Entries of results.json: kcal/mol and kcal/mol/Å, GPa, or the target's own unit."""
        return {k: v for metrics in self.values() for k, v in metrics.as_row().items()}


def evaluate(
    potential: Potential | Ensemble, dataset: StructureDataset, batch_size: int = 100
) -> Evaluation:
    """Errors against the labels that the data set has.

    Raises:
        InputError: as `predict`, for labels that are nan and not left out by their mask, and for a
            data set with no label of what the potential predicts.
    """
    check_not_empty("dataset", dataset)
    dataset = dataset.transformed()
    targets = predicted_targets(potential)
    labeled = [target.name for target in targets if dataset.has_property(target.name)]
    for target in targets:
        if target.name in labeled:
            check_shape(dataset, target)
            check_label(dataset, target.name)
    if not labeled:
        names = " nor ".join(target.name for target in targets)
        raise InputError(f"{dataset.name}: has neither {names} to compare with")
    derivatives = {t.name: t in targets and t.name in labeled for t in DERIVATIVES}
    return compute_metrics(predict(potential, dataset, batch_size, **derivatives), dataset, targets)


def compute_metrics(
    predicted: Prediction,
    dataset: StructureDataset,
    targets: Iterable[Target] = (ENERGY, FORCES, STRESS),
) -> Evaluation:
    """Errors of predictions that are there already, for the targets that have labels."""
    values, errors = dict(predicted.items()), Evaluation()
    for target in targets:
        if target.name in values and dataset.has_property(target.name):
            known = dataset.mask(target.name)
            label, value = dataset.get_property(target.name)[known], values[target.name][known]
            if len(label):
                atoms = dataset.num_atoms[known] if _is_sum(target) else None
                errors[target.name] = metrics_of(target, label, value, atoms)
    return errors


def _is_sum(target: Target) -> bool:
    return target.per == "structure" and target.shape == () and target.extensive
