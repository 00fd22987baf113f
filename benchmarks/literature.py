"""Errors that papers report: `literature.csv`, a line each, as printed there."""

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

LITERATURE = Path(__file__).with_name("literature.csv")
MARKS = {
    "read": "read in its source",
    "repeated": "repeated alike in several places",
    "quoted": "read in a page that quotes it",
    "memory": "from memory",
    "doubtful": "from memory, to be checked against the paper",
}
MEV = 43.3641042418  # per kcal/mol
COLUMNS = {"energy": "energy_mae_kcal_mol", "forces": "force_mae_kcal_mol_A", "property": "mae"}


class Published(NamedTuple):
    """One number of a paper; the fields are the columns of `literature.csv`."""

    dataset: str
    subject: str  # molecule, target or fold
    quantity: str  # mean absolute error of energy, forces or property; or a loss
    model: str
    labels: str  # trained on: energies, forces, or energies and forces; "" where it is the subject
    num_train: int | None
    value: float
    unit: str
    split: str
    source: str
    mark: str  # how sure it is, one of `MARKS`

    @property
    def column(self) -> str:
        """Column of results.json that it stands beside."""
        return COLUMNS.get(self.quantity, self.quantity)

    def as_row(self) -> dict:
        """What results.json says of it."""
        return {
            "value": self.value,
            "quantity": self.column,
            "unit": self.unit,
            "model": self.model,
            "num_train": self.num_train,
            "split": self.split,
            "source": self.source,
            "mark": self.mark,
        }


@cache
def literature() -> tuple[Published, ...]:
    """All lines of `literature.csv`."""
    with LITERATURE.open(newline="", encoding="utf-8") as file:
        return tuple(
            Published(**{**line, "num_train": int(line["num_train"] or 0) or None,
                         "value": float(line["value"])})
            for line in csv.DictReader(file)
        )  # fmt: skip


def qm9(target: str) -> list[Published]:
    """Errors on a target of QM9, such as "U0"."""
    return [n for n in _of("QM9", target) if n.quantity in COLUMNS]


def md17(molecule: str, task: str = "", num_train: int | None = None) -> list[Published]:
    """Errors on MD17; none for molecules without.

    Args:
        molecule: such as "ethanol".
        task: keep those of SchNet for this task alone, and all of other models.
        num_train: keep those of models trained on the nearest number of frames alone.
    """
    numbers = [n for n in _of("MD17", molecule) if n.quantity in COLUMNS]
    numbers = [n for n in numbers if not task or n.model != "SchNet" or n.labels == _labels(task)]
    numbers.sort(key=lambda n: (n.num_train or 0, n.model != "SchNet"))
    return _nearest(numbers, num_train)


def rmd17(molecule: str, task: str = "", num_train: int | None = None) -> list[Published]:
    """Errors on revised MD17, of models for energies and forces; arguments as for `md17`."""
    return [] if task == "energy" else _nearest(_of("RevisedMD17", molecule), num_train)


def iso17(fold: str, task: str = "") -> list[Published]:
    """Errors on a fold of ISO17, by models for one task or all."""
    numbers = [n for n in _of("ISO17", fold) if n.quantity in COLUMNS]
    return [n for n in numbers if not task or n.labels in ("", _labels(task))]


def milestone() -> list[Published]:
    """Table 5 of the milestone report: what its baseline lost, which is no target.

    The report prints no units. They are here those of the files as its data loader gives them:
    Hartree for QM9, kcal/mol for MD17, eV for ISO17, where the report says kcal/mol.
    """
    return [n for n in literature() if n.quantity not in COLUMNS]


def beside(numbers: list[dict]) -> list[dict]:
    """Published rows of SchNet, of PaiNN and of the best model of each quantity.

    Args:
        numbers: as `Published.as_row` gives them.
    """
    best: dict[str, dict] = {}
    for number in numbers:
        quantity = number["quantity"]
        if quantity not in best or in_columns_unit(number) < in_columns_unit(best[quantity]):
            best[quantity] = number
    models = {number["model"] for number in best.values()}
    return [
        n for n in numbers if n["model"] in models or n["model"].startswith(("SchNet", "PaiNN"))
    ]


def in_columns_unit(number: dict) -> float:
    """A published value in the unit of its column: kcal/mol where it is printed in meV."""
    return number["value"] / MEV if number["unit"].startswith("meV") else number["value"]


def _of(dataset: str, subject: str) -> list[Published]:
    return [n for n in literature() if (n.dataset, n.subject) == (dataset, subject)]


def _labels(task: str) -> str:
    return "energies" if task == "energy" else "energies and forces"


def _nearest(numbers: list[Published], num_train: int | None) -> list[Published]:
    """Those trained on the number that differs by the smallest factor; all that state none."""
    sizes = {n.num_train for n in numbers if n.num_train}
    if num_train is None or not sizes:
        return numbers
    nearest = min(sizes, key=lambda size: max(size, num_train) / min(size, num_train))
    return [n for n in numbers if n.num_train in (nearest, None)]
