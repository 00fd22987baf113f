"""Table 5 of the milestone report, with our numbers beside it."""

from benchmarks.accuracy.table import aligned, marked, notes, subject
from benchmarks.literature import milestone

QUANTITIES = {
    "energy": "energy loss",
    "forces": "force loss",
    "energy_and_forces": "energy and force loss",
}
_WHOSE = ("report", "ours", "mean")


def table(rows: list[dict], whole: bool = False) -> str:
    """For each task the report's loss, ours, and that of the mean energy with forces of zero.

    Args:
        rows: of `accuracy/milestone1.py`.
        whole: data sets of the report without a row have a line too, which says so.
    """
    lines: dict[tuple, dict[str, list[str]]] = {}
    for row in rows:
        key = row["dataset"], marked(row, rows), row["model"], str(row["seed"])
        report = [f"{number['value']:,}" for number in row["published"]] or [""]
        ours = map(_text, (row["loss"], row["loss_of_mean_predictor"]))
        line = lines.setdefault((*key, f"{row['num_train']:,}", _energy_unit(row["unit"])), {})
        line[row["task"]] = [*report, *ours]
    if whole:
        lines |= _not_measured(rows)
    header = ["data set", "subject", "model", "seed", "training", "unit"]
    header += [f"{quantity}: {who}" for quantity in QUANTITIES.values() for who in _WHOSE]
    cells = [
        [*key, *(cell for task in QUANTITIES for cell in line.get(task, ["n.a.", "", ""]))]
        for key, line in lines.items()
    ]
    below = (f"\n{mark} {note}" for mark, note in notes(rows).items())
    return "\n".join([aligned(header, cells), *below])


def _not_measured(rows: list[dict]) -> dict[tuple, dict[str, list[str]]]:
    measured = {(row["dataset"], subject(row)) for row in rows}
    tasks = {quantity: task for task, quantity in QUANTITIES.items()}
    lines: dict[tuple, dict[str, list[str]]] = {}
    for number in milestone():
        if (number.dataset, number.subject) not in measured:
            key = number.dataset, number.subject, "baseline: no data here", "", ""
            line = lines.setdefault((*key, _energy_unit(number.unit)), {})
            line[tasks[number.quantity]] = [f"{number.value:,}", "", ""]
    return lines


def _text(loss: float) -> str:
    return f"{loss:,.0f}" if loss > 1000 else f"{loss:.4g}"


def _energy_unit(unit: str) -> str:
    """Of (kcal/mol)² + (kcal/mol/Å)², and of kcal/mol/Å, it is kcal/mol."""
    return unit.partition(")")[0].strip("(").removesuffix("/Å")
