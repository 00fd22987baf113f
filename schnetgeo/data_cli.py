"""The commands schnetgeo data info, stats, check, download and convert."""

import json
from collections.abc import Iterable
from pathlib import Path

from jsonargparse import Namespace

from schnetgeo.data.consistency import check_data
from schnetgeo.data.copies import differing_copies
from schnetgeo.data.describe import elements, fields, formulas
from schnetgeo.data.distribution import Distribution, distribution
from schnetgeo.data.geometry_summary import geometry_summary
from schnetgeo.data.make_split import is_trajectory
from schnetgeo.data.merge import Remarks
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.split import Split
from schnetgeo.data_options import (
    ROOT,
    TAKES,
    UNITS,
    add_dataset_options,
    add_units,
    dataset_arguments,
    dataset_options,
    open_dataset_from_options,
    read_blocks,
    read_files,
)
from schnetgeo.datasets import iso17, md17, qm9, rmd17
from schnetgeo.datasets.source import Source, fetch
from schnetgeo.datasets.write import write_dataset
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_write
from schnetgeo.parser import Parser, flag

SOURCES = {module.SOURCE.name: module.SOURCE for module in (qm9, md17, rmd17, iso17)}
_SHOWN = 20  # compositions in the table


def add_data(parser: Parser) -> None:
    """Give a parser the commands."""
    commands = parser.add_subcommands()
    for name, help in (
        ("info", "what a data set holds, and where it comes from"),
        ("stats", "distributions, duplicates, distances"),
        ("check", "labels that do not belong together: wrong units, signs, order, settings"),
    ):
        command = Parser(description=f"Show {help}.")
        command.add_argument(
            "files", type=str, nargs="*", help="stores, or anything ASE reads, .npz"
        )
        _add_named(command)
        add_units(command)
        command.add_argument("--json", type=str | None, help="write the same there")
        if name == "check":
            command.add_argument(
                "--split", type=str | None, help="a split, whose tested structures are compared too"
            )
        if name == "stats":
            command.add_argument("--picture", type=str | None, help="draw the distributions there")
        commands.add_subcommand(name, command, help=help)
    command = Parser(description="Fetch the files of a data set; those that are there are checked.")
    _add_named(command, needed=True)
    command.add_argument("--data", type=str | None, help="a copy brought here in another way")
    commands.add_subcommand("download", command, help="fetch a data set")
    command = Parser(description="Write structures to a file of another kind, or to a store.")
    command.add_argument("files", type=str, nargs="+", help="stores, or anything ASE reads, .npz")
    add_units(command)
    command.add_argument("--out", type=str, required=True, help=".extxyz, .db, .npz or .store")
    flag(command, "--append", "add to the store that is there")
    commands.add_subcommand("convert", command, help="from any file to extxyz, ASE db, npz, store")


def _add_named(parser: Parser, needed: bool = False) -> None:
    names = f"one of {', '.join(SOURCES if needed else TAKES)}"
    kind = str if needed else str | None
    parser.add_argument("--dataset", type=kind, required=needed, help=names)
    if not needed:
        add_dataset_options(parser)
        parser.add_argument("--data", type=str, nargs="+", help="files of --dataset at hand")
        return
    parser.add_argument("--molecule", type=str | None, help="of MD17 and RevisedMD17")
    parser.add_argument("--root", type=str, default=ROOT, help="folder for downloads")


def run_data(options: Namespace) -> None:
    """Run one of the commands."""
    command = {
        "info": _info, "stats": _stats, "check": _check, "download": _download,
        "convert": _convert,
    }  # fmt: skip
    name = options.subcommand
    command[name](options[name])


def _open(options: Namespace) -> StructureDataset | None:
    if bool(options.files) == bool(options.dataset):
        raise InputError("give either files or --dataset")
    names = [*dataset_options(options), "data"] if options.files else UNITS
    unused = [name for name in names if options[name]]
    if unused:
        option, beside = min(unused).replace("_", "-"), "files" if options.files else "--dataset"
        raise InputError(f"--{option} has no effect beside {beside}; leave one of them away")
    if options.files:
        return read_files(options.files, options)
    dataset_arguments(options)
    at_hand = options.data or options.dataset not in SOURCES
    if not at_hand and not _is_downloaded(_source(options.dataset), options):
        return None
    every = options.dataset == "ISO17" and not options.fold
    return open_dataset_from_options(options, **({"fold": list(iso17.FOLDS)} if every else {}))


def _is_downloaded(source: Source, options: Namespace) -> bool:
    """Whether the files of the molecule or of the set, or what was made of them, are at hand."""
    folder, molecule = Path(options.root) / source.name, options.molecule or "ethanol"
    if options.molecule and options.molecule not in source.files:
        raise _unknown_molecule(source, options.molecule)
    if molecule in source.files:
        names = f"{molecule}.store", source.files[molecule].name
        return any((folder / name).exists() for name in names)
    return any(folder.glob("[!.]*"))


def _unknown_molecule(source: Source, molecule: str) -> InputError:
    known = ", ".join(source.files)
    return InputError(f"{source.name} has no molecule {molecule!r:.50}; known: {known}")


def _download_command(options: Namespace) -> str:
    molecule = f" --molecule {options.molecule}" if options.molecule else ""
    root = "" if options.root == ROOT else f" --root {options.root}"
    return f"schnetgeo data download --dataset {options.dataset}{molecule}{root}"


def _source(name: str) -> Source:
    if name not in SOURCES:
        raise InputError(f"unknown data set {name!r}; known: {', '.join(SOURCES)}")
    return SOURCES[name]


def _info(options: Namespace) -> None:
    dataset = _open(options)
    content, lines = {}, []
    if options.dataset in SOURCES:
        source = _source(options.dataset)
        content |= {name: getattr(source, name) for name in ("name", "license", "citation", "doi")}
        lines += [f"{source.name}: {source.citation}; doi:{source.doi}; {source.license}", ""]
        rows = _published(options.dataset)
        content["published"] = rows
        lines += [*_table(rows), ""]
    if dataset is None:
        lines.append(f"nothing in {options.root} yet; fetch it with {_download_command(options)}")
    else:
        summary = _summarize(dataset)
        content |= summary
        lines += _format_summary(summary)
    _print_and_write(lines, content, options.json)


def _published(name: str) -> list[dict]:
    """What is known without the data: properties, molecules or folds."""
    if name == "QM9":
        facts = qm9.TARGETS.items()
        return [{"property": k, "unit": p.unit, "meaning": p.meaning} for k, p in facts]
    if name == "ISO17":
        return [
            {"fold": fold, "structures": facts.structures, "meaning": facts.meaning}
            for fold, facts in iso17.FOLDS.items()
        ]
    if name == "MD17":
        return [
            {"molecule": k, "structures": t.frames, "atoms": t.atoms, "theory": t.theory}
            for k, t in md17.MOLECULES.items()
        ]
    return [{"molecule": molecule} for molecule in _source(name).files]


def _units(dataset: StructureDataset) -> tuple[dict[str, str], dict[str, str]]:
    """Units and meanings that only the data set knows."""
    units = dict(getattr(dataset, "notes", {}).get("units", {}))
    if isinstance(dataset, qm9.QM9):
        return {k: p.unit for k, p in qm9.TARGETS.items()}, {
            k: p.meaning for k, p in qm9.TARGETS.items()
        }
    return units, {}


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
    if isinstance(dataset, iso17.ISO17):
        summary["folds"] = dataset.counts
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
        *_table(summary["fields"]),
        "",
        *_table([{"composition": k, "structures": v} for k, v in shown]),
    ]
    more = len(summary["compositions"]) - len(shown)
    if more:
        lines.append(f"and {more:,} more compositions")
    if "folds" in summary:
        rows = [
            {"fold": k, "structures": v, "meaning": iso17.FOLDS[k].meaning}
            for k, v in summary["folds"].items()
        ]
        lines += ["", *_table(rows)]
    return lines


def _check(options: Namespace) -> None:
    """Print what a check finds; the exit code is 1 where there are faults."""
    dataset = _open_at_hand(options)
    split = Split.load(options.split).check(len(dataset), options.split) if options.split else None
    report = check_data(dataset, split)
    findings = [finding._asdict() for finding in report.findings]
    content = report._asdict() | {"findings": findings}
    _print_and_write(str(report).split("\n"), content, options.json)
    if report.findings:
        raise SystemExit(1)


def _open_at_hand(options: Namespace) -> StructureDataset:
    dataset = _open(options)
    if dataset is None:
        raise InputError(
            f"{options.dataset} is not in {options.root}; fetch it with "
            f"{_download_command(options)}"
        )
    return dataset


def _stats(options: Namespace) -> None:
    dataset = _open_at_hand(options)
    several = len(formulas(dataset)) > 1
    wanted = {"energy": "energy (eV)", "forces": "force component (eV/Å)"}
    labels = {name: label for name, label in wanted.items() if dataset.has_label(name)}
    if several and "energy" in labels:
        labels = {"residual": "energy less that of the elements (eV)"} | labels
    distributions = {name: distribution(dataset, name) for name in labels}
    summary = geometry_summary(dataset)
    rows = [row for name, values in distributions.items() for row in _rows(labels[name], values)]
    lines = [f"{dataset.name}: {len(dataset):,} structures", "", *_table(rows), ""]
    lines += [
        f"{labels[name]}: {_format_fit(values)}"
        for name, values in distributions.items()
        if values.std > 0
    ]
    lines += [
        f"distances within a structure: {_format_value(summary.shortest)} to "
        f"{_format_value(summary.longest)} Å",
        f"exact copies of another structure: {summary.exact_copies}",
        f"groups of turned, permuted or mirrored copies: {summary.duplicate_groups}",
    ]
    differing = differing_copies(dataset)
    if differing:
        lines.append(
            f"copies with other energies: {len(differing):,} geometries, such as structures "
            f"{' and '.join(map(str, differing[0][:2]))}"
        )
    content = {name: _jsonable(values) for name, values in distributions.items()}
    _print_and_write(
        lines,
        {
            "data": dataset.name, **content, "geometry": summary._asdict(),
            "differing_copies": differing,
        },
        options.json,
    )  # fmt: skip
    if options.picture:
        from schnetgeo.viz.distributions import draw_distributions

        if not distributions:
            raise InputError(f"{dataset.name}: has neither energy nor forces to draw")
        draw_distributions({labels[name]: values for name, values in distributions.items()},
                           options.picture)  # fmt: skip
        print(options.picture)


def _rows(label: str, values: Distribution) -> list[dict]:
    fits = [("one normal", values.normal), *(("one of two", part) for part in values.mixture)]
    return [
        {"values": label if k == 0 else "", "fit": fit, **normal._asdict()}
        for k, (fit, normal) in enumerate(fits)
    ]


def _format_fit(values: Distribution) -> str:
    better = (
        "two normals describe it better than one" if values.bic_gain > 10 else "one normal does"
    )
    return f"{values.lowest:.6g} to {values.highest:.6g}; {better} (BIC {values.bic_gain:+.0f})"


def _jsonable(values: Distribution) -> dict:
    content = values._asdict()
    content |= {"normal": values.normal._asdict(), "mixture": [p._asdict() for p in values.mixture]}
    return content | {"edges": values.edges.tolist(), "counts": values.counts.tolist()}


def _download(options: Namespace) -> None:
    source = _source(options.dataset)
    wanted = [options.molecule] if options.molecule else list(source.files)
    if options.molecule and options.molecule not in source.files:
        raise _unknown_molecule(source, options.molecule)
    if options.data and len(wanted) > 1:
        raise InputError("--data is one file: say with --molecule which one it is")
    for key in wanted:
        print(fetch(source.files[key], Path(options.root) / source.name, options.data))
    print(f"cite {source.citation}; {source.license}")


def _convert(options: Namespace) -> None:
    count, remarks = 0, Remarks()

    def parts() -> Iterable[StructureDataset]:
        nonlocal count
        for part in read_blocks(options.files, options, remarks):
            count += len(part)
            yield part

    write_dataset(options.out, parts(), options.append, remarks)
    remarks.say(", ".join(Path(file).name for file in options.files), count)
    print(f"{options.out}: {count:,} structures")


def _print_and_write(lines: list[str], content: dict, path: str | None) -> None:
    print("\n".join(lines))
    if path:
        atomic_write(path, json.dumps(content, indent=1, ensure_ascii=False).encode())


def _format_value(value) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(rows: list[dict]) -> list[str]:
    """Columns of equal width under their names."""
    if not rows:
        return []
    cells = [list(rows[0]), *([_format_value(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
