"""The commands schnetgeo data info, stats, check, download and convert."""

from jsonargparse import Namespace

from schnetgeo.cli import data_check, data_convert, data_download, data_info, data_stats
from schnetgeo.cli.parser import Parser

# each with make_parser() and run(options)
COMMANDS = {
    "info": (data_info, "what a data set holds, and where it comes from"),
    "stats": (data_stats, "distributions, duplicates, distances"),
    "check": (
        data_check, "labels that do not belong together: wrong units, signs, order, settings"
    ),
    "download": (data_download, "fetch a data set"),
    "convert": (data_convert, "from any file to extxyz, ASE db, npz, store"),
}  # fmt: skip


def make_parser() -> Parser:
    return Parser(description="Look at data, fetch them, convert them.")


def add_commands(parser: Parser) -> None:
    """Give a parser the commands, once it is a subcommand itself, as jsonargparse wants it."""
    commands = parser.add_subcommands()
    for name, (command, help) in COMMANDS.items():
        commands.add_subcommand(name, command.make_parser(), help=help)


def run(options: Namespace) -> None:
    command, _ = COMMANDS[options.subcommand]
    command.run(options[options.subcommand])
