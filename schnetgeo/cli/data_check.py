"""The command schnetgeo data check."""

from jsonargparse import Namespace

from schnetgeo.cli.data_set import add_structures, open_at_hand
from schnetgeo.cli.parser import Parser
from schnetgeo.cli.table import print_and_write
from schnetgeo.data.consistency import check_data
from schnetgeo.data.split import Split


def make_parser() -> Parser:
    what = "labels that do not belong together: wrong units, signs, order, settings"
    parser = Parser(description=f"Show {what}.")
    add_structures(parser)
    parser.add_argument(
        "--split", type=str | None, help="a split, whose tested structures are compared too"
    )
    return parser


def run(options: Namespace) -> None:
    """Print what a check finds; the exit code is 1 where there are faults."""
    dataset = open_at_hand(options)
    split = Split.load(options.split).check(len(dataset), options.split) if options.split else None
    report = check_data(dataset, split)
    findings = [finding._asdict() for finding in report.findings]
    content = report._asdict() | {"findings": findings}
    print_and_write(str(report).split("\n"), content, options.json)
    if report.findings:
        raise SystemExit(1)
