"""SchNet and simpler models on revised MD17, beside published errors.

`python -m benchmarks.rmd17 --molecules ethanol aspirin --split 1 --max-minutes 30 --out DIR`
"""

from collections.abc import Iterator
from pathlib import Path

from jsonargparse import Namespace

from benchmarks import literature
from benchmarks.accuracy.experiments import Subject
from benchmarks.accuracy.runner import command, suite_parser
from benchmarks.md17 import theory
from schnetgeo.cli.parser import Parser
from schnetgeo.datasets import RevisedMD17
from schnetgeo.datasets.rmd17 import THEORY
from schnetgeo.errors import InputError


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark; an `InputError` becomes one line and exit code 2."""
    command(make_parser(), read_subjects, arguments)


def make_parser() -> Parser:
    parser = suite_parser("benchmarks.rmd17", __doc__, channels=64, num_layers=3, gamma=10.0)
    parser.add_argument(
        "--molecules", type=str, nargs="+", default=["ethanol"], help="such as aspirin"
    )
    parser.add_argument(
        "--data", type=str, nargs="+",
        help="a file (.npz) for each molecule, or the archive of all; downloaded unless given",
    )  # fmt: skip
    parser.add_argument(
        "--split", type=int | None,
        help="published split, 1 to 5; 1 unless given, or a random split of files of one molecule",
    )  # fmt: skip
    parser.set_defaults(lr=3e-3)
    return parser


def read_subjects(options: Namespace) -> Iterator[Subject]:
    files = options.data or [None]
    if len(files) == 1 and (files[0] is None or Path(files[0]).suffix != ".npz"):
        files = files * len(options.molecules)
    if len(files) != len(options.molecules):
        raise InputError(
            f"data names {len(files)} files for {len(options.molecules)} molecules; give one for "
            "each, or the archive of all"
        )
    for molecule, file in zip(options.molecules, files, strict=True):
        single = file is not None and Path(file).suffix == ".npz"
        split = 1 if options.split is None and not single else options.split
        data = RevisedMD17(options.root, molecule, split, file)
        labels = theory(file) if single else f"labels are {THEORY}"
        where = f"published split {split}" if split else "split at random"
        said = "; ".join(filter(None, (labels, where)))
        yield Subject("RevisedMD17", "molecule", molecule, data, literature.rmd17, note=said)


if __name__ == "__main__":
    main()
