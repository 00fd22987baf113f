"""All commands under one name."""

from schnetgeo._version import __version__
from schnetgeo.cli import (
    calibrate,
    convert,
    data,
    doctor,
    evaluate,
    explain,
    export,
    frequencies,
    md,
    neb,
    predict,
    query,
    relax,
    scan,
    select,
    show,
    train,
)
from schnetgeo.cli.model_options import scan_architecture
from schnetgeo.cli.parser import Parser, errors_in_one_line
from schnetgeo.nn import AtomisticModel, SchNet
from schnetgeo.notes import notes_in_one_line

# each with make_parser() and run(options)
COMMANDS = {
    "train": (train, "train a model and save it"),
    "evaluate": (evaluate, "errors of a model on files"),
    "predict": (predict, "energies and forces of all structures of files"),
    "relax": (relax, "move atoms, and the cell, to where forces vanish"),
    "md": (md, "molecular dynamics"),
    "frequencies": (frequencies, "vibrations and infrared spectrum"),
    "scan": (scan, "energies along a bond, an angle or a dihedral"),
    "neb": (neb, "minimum energy path between two structures"),
    "calibrate": (calibrate, "let a model say how sure it is"),
    "select": (select, "pick the structures that models are least sure of"),
    "convert": (convert, "read a model of another package"),
    "explain": (explain, "what a model makes of a molecule"),
    "export": (export, "write a model for other programs"),
    "query": (query, "find structures by their properties"),
    "show": (show, "draw a structure, film a trajectory"),
    "doctor": (doctor, "versions, devices, backends, remedies"),
    "data": (data, "look at data, fetch them, convert them"),
}


def run(arguments: list[str] | None = None) -> None:
    """Run one command; an `InputError` becomes one line and exit code 2."""
    with errors_in_one_line("schnetgeo"), notes_in_one_line():
        model = scan_architecture(arguments)
        options = _make_parser(model).parse_args(arguments)
        if options.subcommand == "train":
            train.reject_unused_options(options.train, model)
            if options.train.preset:
                options = _make_parser(model, options.train.preset).parse_args(arguments)
        command, _ = COMMANDS[options.subcommand]
        command.run(options[options.subcommand])


def _make_parser(model: type[AtomisticModel] = SchNet, preset: str | None = None) -> Parser:
    parser = Parser(prog="schnetgeo", description="SchNet-type models for atoms.")
    parser.add_argument("--version", action="version", version=f"schnetgeo {__version__}")
    commands = parser.add_subcommands()
    for name, (command, help) in COMMANDS.items():
        sub = train.make_parser(model, preset) if command is train else command.make_parser()
        commands.add_subcommand(name, sub, help=help)
        if command is data:
            data.add_commands(sub)
    return parser
