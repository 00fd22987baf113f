"""The command schnetgeo data stats."""

from jsonargparse import Namespace

from schnetgeo.cli.data_set import add_structures, open_at_hand
from schnetgeo.cli.parser import Parser
from schnetgeo.cli.table import format_value, print_and_write, table
from schnetgeo.data.copies import differing_copies
from schnetgeo.data.describe import formulas
from schnetgeo.data.distribution import Distribution, distribution
from schnetgeo.data.geometry_summary import geometry_summary
from schnetgeo.errors import InputError


def make_parser() -> Parser:
    parser = Parser(description="Show distributions, duplicates, distances.")
    add_structures(parser)
    parser.add_argument("--picture", type=str | None, help="draw the distributions there")
    return parser


def run(options: Namespace) -> None:
    dataset = open_at_hand(options)
    several = len(formulas(dataset)) > 1
    wanted = {"energy": "energy (eV)", "forces": "force component (eV/Å)"}
    labels = {name: label for name, label in wanted.items() if dataset.has_label(name)}
    if several and "energy" in labels:
        labels = {"residual": "energy less that of the elements (eV)"} | labels
    distributions = {name: distribution(dataset, name) for name in labels}
    summary = geometry_summary(dataset)
    rows = [row for name, values in distributions.items() for row in _rows(labels[name], values)]
    lines = [f"{dataset.name}: {len(dataset):,} structures", "", *table(rows), ""]
    lines += [
        f"{labels[name]}: {_format_fit(values)}"
        for name, values in distributions.items()
        if values.std > 0
    ]
    lines += [
        f"distances within a structure: {format_value(summary.shortest)} to "
        f"{format_value(summary.longest)} Å",
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
    print_and_write(
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
