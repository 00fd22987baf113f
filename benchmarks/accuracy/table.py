"""Result rows as a table, and what the numbers depend on."""

import textwrap

from benchmarks.literature import MEV, beside, in_columns_unit
from schnetgeo.units import GIGAPASCAL

_SUBJECTS = ("molecule", "target", "fold", "system")
_COLUMNS = {
    "task": "task",
    "seed": "seed",
    "num_train": "training",
    "num_test": "test",
    "parameters": "parameters",
    "steps": "steps",
    "stopped_by": "stopped by",
    "seconds": "seconds",
}
_DISTINCT = ("seed", "num_train", "num_test")  # columns of a short table, where rows differ in them
_ERRORS = {
    "energy_mae_kcal_mol": ("energy MAE", "kcal/mol", "meV", MEV),
    "energy_mae_per_atom_kcal_mol": ("energy per atom MAE", "kcal/mol", "meV", MEV),
    "force_mae_kcal_mol_A": ("force MAE", "kcal/mol/Å", "meV/Å", MEV),
    "stress_mae_GPa": ("stress MAE", "GPa", "meV/Å³", 1000 * GIGAPASCAL),
}
_OF_CRYSTALS = ("energy_mae_per_atom_kcal_mol",)  # columns for systems of any size
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def subject(row: dict) -> str:
    """The molecule, target, fold or system of a row."""
    return next(row[name] for name in _SUBJECTS if name in row)


def table(rows: list[dict], short: bool = False) -> tuple[list[str], list[list[str]]]:
    """Header and cells: errors in both units, marks of notes, then what `beside` keeps of papers.

    Args:
        rows: of `results.json`.
        short: leave out what is the same in all rows, and how they were trained.
    """
    columns = _COLUMNS
    if short:
        distinct = [k for k in _DISTINCT if len({row[k] for row in rows}) > 1]
        columns = {k: _COLUMNS[k] for k in distinct}
    header = [next(name for name in _SUBJECTS if name in rows[0]), "model"]
    name = "{}".format if not short else lambda text: text.removesuffix(" MAE")
    hidden = () if header[0] == "system" else _OF_CRYSTALS
    errors = {
        key: f"{name(label)}, {unit} ({other})"
        for key, (label, unit, other, _) in _ERRORS.items()
        if key not in hidden and any(key in row for row in rows)
    }
    if any("mae" in row for row in rows):
        errors["mae"] = "MAE"
    lines = [(marked(row, rows), row["model"], row) for row in rows] + _published(rows)
    cells = [
        [
            name,
            model,
            *(_error(key, values) for key in errors),
            *(_text(values[key]) if key in values else "" for key in columns),
        ]
        for name, model, values in lines
    ]
    return [*header, *errors.values(), *columns.values()], cells


def notes(rows: list[dict]) -> dict[str, str]:
    """What the rows say of their data, by the mark that a row bears: ¹, ², …"""
    said = dict.fromkeys(row["note"] for row in rows if row["note"])
    return {str(k).translate(_RAISED): note for k, note in enumerate(said, 1)}


def marked(row: dict, rows: list[dict]) -> str:
    """The subject of a row with the mark of its note."""
    return " ".join([subject(row), *(k for k, note in notes(rows).items() if note == row["note"])])


def markdown(rows: list[dict]) -> str:
    """Mean absolute errors for a terminal or a README, and what the marks of rows stand for."""
    below = (textwrap.fill(f"{mark} {note}", 100) for mark, note in notes(rows).items())
    return "\n\n".join([aligned(*table(rows, short=True)), *below])


def aligned(header: list[str], cells: list[list[str]]) -> str:
    """A Markdown table that reads well as plain text too."""
    widths = [max(len(line[k]) for line in [header, *cells]) for k in range(len(header))]
    lines = [header, ["-" * w for w in widths], *cells]
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def _published(rows: list[dict]) -> list[tuple[str, str, dict]]:
    grouped: dict[tuple[str, str, str], dict] = {}
    for row in rows:
        for number in beside(row["published"]):
            split = number["split"].partition(";")[0]
            name = f"published: {number['model']}, {split} ({number['mark']})"
            group = grouped.setdefault((subject(row), name, number["source"]), {})
            group[number["quantity"]] = in_columns_unit(number)
            group["unit"] = number["unit"]
    return [(name, model, values) for (name, model, _), values in grouped.items()]


def _error(key: str, values: dict) -> str:
    if key not in values:
        return ""
    if key == "mae":
        return f"{values[key]:.4g} {values['unit']}"
    return f"{values[key]:.3f} ({values[key] * _ERRORS[key][3]:.1f})"


def _text(value) -> str:
    if isinstance(value, float):
        return f"{value:.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
