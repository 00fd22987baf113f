"""SchNet and simpler models on MD17, beside the published errors.

`python -m benchmarks.md17 --molecules ethanol --data FILE --max-minutes 30 --out DIR`
"""

from collections.abc import Iterator

from jsonargparse import Namespace

from benchmarks import literature
from benchmarks.accuracy.experiments import OWN, Subject
from benchmarks.accuracy.runner import command, suite_parser
from schnetgeo.cli.data_options import add_units, read_files
from schnetgeo.cli.parser import Parser, flag
from schnetgeo.datasets import Demo, open_dataset
from schnetgeo.datasets.md17 import MOLECULES, check_molecule, check_theory
from schnetgeo.datasets.npz_members import text_in
from schnetgeo.errors import InputError


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark; an `InputError` becomes one line and exit code 2."""
    command(make_parser(), read_subjects, arguments)


def make_parser() -> Parser:
    # the wide Gaussians of the papers make smooth filters, which err less on unseen frames
    parser = suite_parser("benchmarks.md17", __doc__, channels=64, num_layers=3, gamma=10.0)
    parser.add_argument(
        "--molecules", type=str, nargs="+", default=["ethanol"], help="of MD17, such as aspirin"
    )
    parser.add_argument(
        "--data", type=str, nargs="+", help="a file for each molecule; downloaded unless given"
    )
    flag(parser, "--demo", "the ethanol that ships with the package")
    add_units(parser)
    parser.set_defaults(lr=3e-3)
    return parser


def read_subjects(options: Namespace) -> Iterator[Subject]:
    if options.demo and options.data:
        raise InputError("demo has data of its own; leave --demo or --data away")
    if options.demo:
        name = "ethanol (GFN2-xTB)"
        yield Subject("Demo", "molecule", name, Demo("ethanol"), literature.md17)
        return
    if options.data and len(options.data) != len(options.molecules):
        raise InputError(
            f"data names {len(options.data)} files for {len(options.molecules)} molecules; give "
            "one for each"
        )
    for index, molecule in enumerate(options.molecules):
        said, dataset = "", "MD17" if molecule in MOLECULES else OWN
        if options.data:
            data = read_files([options.data[index]], options)
            said = theory(options.data[index])
            if dataset != OWN:
                check_theory(options.data[index], revised=False)
                check_molecule(data, molecule)
        else:
            data = open_dataset("MD17", root=options.root, molecule=molecule)
        yield Subject(dataset, "molecule", molecule, data, literature.md17, note=said)


def theory(file: str) -> str:
    """What an .npz says of its labels, or nothing."""
    text = text_in(file, "theory")
    return f"labels are {text[:80]}" if text else ""


if __name__ == "__main__":
    main()
