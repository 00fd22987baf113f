"""The command schnetgeo data download."""

from pathlib import Path

from jsonargparse import Namespace

from schnetgeo.cli.data_options import DEFAULT_ROOT
from schnetgeo.cli.data_set import SOURCES, source_of, unknown_molecule
from schnetgeo.cli.parser import Parser
from schnetgeo.datasets.source import fetch
from schnetgeo.errors import InputError


def make_parser() -> Parser:
    parser = Parser(description="Fetch the files of a data set; those that are there are checked.")
    names = f"one of {', '.join(SOURCES)}"
    parser.add_argument("--dataset", type=str, required=True, help=names)
    parser.add_argument("--molecule", type=str | None, help="of MD17 and RevisedMD17")
    parser.add_argument("--root", type=str, default=DEFAULT_ROOT, help="folder for downloads")
    parser.add_argument("--data", type=str | None, help="a copy brought here in another way")
    return parser


def run(options: Namespace) -> None:
    source = source_of(options.dataset)
    wanted = [options.molecule] if options.molecule else list(source.files)
    if options.molecule and options.molecule not in source.files:
        raise unknown_molecule(source, options.molecule)
    if options.data and len(wanted) > 1:
        raise InputError("--data is one file: say with --molecule which one it is")
    for key in wanted:
        print(fetch(source.files[key], Path(options.root) / source.name, options.data))
    print(f"cite {source.citation}; {source.license}")
