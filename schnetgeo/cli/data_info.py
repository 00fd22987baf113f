"""The command schnetgeo data info."""

from jsonargparse import Namespace

from schnetgeo.cli.data_set import add_structures, download_command, open_structures
from schnetgeo.cli.parser import Parser
from schnetgeo.cli.table import print_and_write, table
from schnetgeo.data.describe import elements, fields, formulas
from schnetgeo.data.make_split import is_trajectory
from schnetgeo.data.packed import StructureDataset
from schnetgeo.datasets.published_dataset import PublishedDataset
from schnetgeo.datasets.sets import set_by_name

_SHOWN = 20  # compositions in the table


def make_parser() -> Parser:
    parser = Parser(description="Show what a data set holds, and where it comes from.")
    add_structures(parser)
    return parser


def run(options: Namespace) -> None:
    dataset = open_structures(options)
    content, lines = {}, []
    kind = set_by_name(options.dataset) if options.dataset else None
    if kind is not None and kind.source is not None:
        source = kind.source
        content |= {name: getattr(source, name) for name in ("name", "license", "citation", "doi")}
        lines += [f"{source.name}: {source.citation}; doi:{source.doi}; {source.license}", ""]
        rows = kind.published()
        content["published"] = rows
        lines += [*table(rows), ""]
    if dataset is None:
        lines.append(f"nothing in {options.root} yet; fetch it with {download_command(options)}")
    else:
        summary = _summarize(dataset)
        content |= summary
        lines += _format_summary(summary)
    print_and_write(lines, content, options.json)


def _units(dataset: StructureDataset) -> tuple[dict[str, str], dict[str, str]]:
    """Units and meanings that only the data set knows."""
    if isinstance(dataset, PublishedDataset):
        meanings = dataset.meanings
        return {k: m.unit for k, m in meanings.items()}, {k: m.meaning for k, m in meanings.items()}
    return dict(getattr(dataset, "notes", {}).get("units", {})), {}


def _summarize(dataset: StructureDataset) -> dict:
    """Fields, number of structures of each composition, and folds."""
    units, meanings = _units(dataset)
    sizes = dataset.num_atoms
    summary = {
        "data": dataset.name,
        "structures": len(dataset),
        "atoms": int(sizes.sum()),
        "fewest_atoms": int(sizes.min()),
        "most_atoms": int(sizes.max()),
        "elements": elements(dataset),
        "trajectory": is_trajectory(dataset),
        "fields": [
            field._replace(meaning=field.meaning or meanings.get(field.name))._asdict()
            for field in fields(dataset, units)
        ],
        "compositions": dict(formulas(dataset).most_common()),
    }
    if isinstance(dataset, PublishedDataset) and dataset.parts():
        summary["parts"] = dataset.parts()
    return summary


def _format_summary(summary: dict) -> list[str]:
    several = summary["fewest_atoms"] != summary["most_atoms"]
    sizes = (
        f"{summary['fewest_atoms']} to {summary['most_atoms']}"
        if several
        else summary["most_atoms"]
    )
    shown = list(summary["compositions"].items())[:_SHOWN]
    counts = ", ".join(f"{k} {v:,}" for k, v in summary["elements"].items())
    lines = [
        f"{summary['data']}: {summary['structures']:,} structures of {sizes} atoms, "
        f"{summary['atoms']:,} in all: {counts}",
        *(["successive structures are alike, as in a trajectory"] if summary["trajectory"] else []),
        "",
        *table(summary["fields"]),
        "",
        *table([{"composition": k, "structures": v} for k, v in shown]),
    ]
    more = len(summary["compositions"]) - len(shown)
    if more:
        lines.append(f"and {more:,} more compositions")
    if "parts" in summary:
        lines += ["", *table(summary["parts"])]
    return lines
