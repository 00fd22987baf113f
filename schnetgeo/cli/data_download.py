"""The command schnetgeo data download."""

from pathlib import Path

from jsonargparse import Namespace

from schnetgeo.cli.data_options import DEFAULT_ROOT
from schnetgeo.cli.data_set import DOWNLOADED, unknown_molecule
from schnetgeo.cli.parser import Parser
from schnetgeo.datasets.sets import set_by_name
from schnetgeo.datasets.source import fetch
from schnetgeo.errors import InputError


def make_parser() -> Parser:
    parser = Parser(description="Fetch the files of a data set; those that are there are checked.")
    names = f"one of {', '.join(kind.__name__ for kind in DOWNLOADED)}"
    parser.add_argument("--dataset", type=str, required=True, help=names)
    parser.add_argument(
        "--molecule", type=str | None, help="of a data set with several, one of them"
    )
    parser.add_argument("--root", type=str, default=DEFAULT_ROOT, help="folder for downloads")
    parser.add_argument("--data", type=str | None, help="a copy brought here in another way")
    return parser


def run(options: Namespace) -> None:
    source = set_by_name(options.dataset, DOWNLOADED).source
    wanted = [options.molecule] if options.molecule else list(source.files)
    if options.molecule and options.molecule not in source.files:
        raise unknown_molecule(source, options.molecule)
    if options.data and len(wanted) > 1:
        raise InputError("--data is one file: say with --molecule which one it is")
    for key in wanted:
        print(fetch(source.files[key], Path(options.root) / source.name, options.data))
    print(f"cite {source.citation}; {source.license}")
