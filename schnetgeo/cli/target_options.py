"""What `schnetgeo train` is to predict, and the readout and losses for it."""

from collections.abc import Sequence

from jsonargparse import Namespace

from schnetgeo.cli.parser import Parser
from schnetgeo.data.further_labels import Label
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.structure import LABELS
from schnetgeo.errors import InputError
from schnetgeo.nn import AtomisticModel, SumReadout, readout_for
from schnetgeo.targets import TARGETS, Target, known_target

_NO_ENERGIES = {t.name for t in TARGETS} - {"energy", "U0", "U", "H", "G"}  # of QM9 and files


def add_targets(parser: Parser) -> None:
    """The option --targets."""
    parser.add_argument(
        "--targets", type=str, nargs="+", default=[],
        help="what to predict, such as energy dipole charges, or --labels of your own by their "
        "names; the energy unless given",
    )  # fmt: skip


def labels_of_targets(options: Namespace) -> list[str]:
    """The labels of --labels, and those of --targets that files have under these names."""
    named = {Label.parse(text).name for text in options.labels}
    return [*options.labels, *(t for t in options.targets if t not in {*named, *LABELS})]


def find_targets(names: Sequence[str], dataset: StructureDataset) -> tuple[Target, ...]:
    """The targets of these names, in their order with the energy first; none is the energy.

    Without names, QM9 with a target that is no total energy has that one.

    Raises:
        InputError: for a name that is neither a label of the data set nor a known target.
    """
    of_set = getattr(dataset, "target", None)
    if not names and of_set in _NO_ENERGIES:
        names = [of_set]
    labels = {target.name: target for target in dataset.labels}
    targets = [labels.get(name) or known_target(name) for name in names]
    return tuple(sorted(targets, key=lambda target: target.name != "energy"))


def readout_argument(
    model: type[AtomisticModel], targets: Sequence[Target], arguments: dict
) -> dict:
    """The argument `readout` of a model that predicts these targets, unless it was chosen."""
    if not targets or arguments.get("readout", SumReadout) is not SumReadout:
        return {}
    if "readout" not in arguments:
        raise InputError(
            f"targets: {model.__name__} takes no readout, so that it cannot be told what to "
            "predict; take SchNet or PaiNN, or give it an argument readout"
        )
    return {"readout": readout_for(*targets, has_vectors=model.has_vectors)}
