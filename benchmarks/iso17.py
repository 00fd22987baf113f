"""SchNet and simpler models on known and unknown isomers of ISO17, beside the published errors.

`python -m benchmarks.iso17 --folds test_within test_other --num-train 400000 --max-minutes 600`
"""

from collections.abc import Iterator

from jsonargparse import Namespace
from torch import Tensor

from benchmarks import literature
from benchmarks.accuracy.experiments import Subject
from benchmarks.accuracy.runner import command, suite_parser
from benchmarks.literature import Published
from schnetgeo.cli.parser import Parser, flag
from schnetgeo.datasets import ISO17
from schnetgeo.datasets.iso17 import FOLDS
from schnetgeo.errors import InputError


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark; an `InputError` becomes one line and exit code 2."""
    command(make_parser(), read_subjects, arguments)


def make_parser() -> Parser:
    parser = suite_parser("benchmarks.iso17", __doc__, channels=64, num_layers=3, gamma=10.0)
    parser.add_argument(
        "--folds", type=str, nargs="+", default=["test_within", "test_other"],
        help=f"to test on, of {', '.join(FOLDS)}; models are trained on reference",
    )  # fmt: skip
    parser.add_argument(
        "--data", type=str | None, help="the archive, or a folder with its files; downloaded "
        "unless given"
    )  # fmt: skip
    flag(parser, "--any_counts", "take folds of other sizes than those that are known")
    parser.set_defaults(num_train=[400_000], num_val=4_000, batch_size=32, lr=1e-3,
                        max_minutes=30.0)  # fmt: skip
    return parser


def read_subjects(options: Namespace) -> Iterator[Subject]:
    folds = [name for name in FOLDS if name != "reference"]
    for name in options.folds:
        if name not in folds or options.folds.count(name) > 1:
            raise InputError(
                f"fold {name!r} of ISO17 is none to test on, or named twice; known: "
                f"{', '.join(folds)}"
            )
    data = ISO17(options.root, ["reference", *options.folds], options.data, not options.any_counts)
    fold_of = data.get_property("fold")

    def tests(test: Tensor) -> dict[str, Tensor]:
        return {name: test[fold_of[test] == list(FOLDS).index(name)] for name in options.folds}

    yield Subject("ISO17", "fold", "ISO17", data, _published, tests=tests)


def _published(fold: str, task: str, num_train: int) -> list[Published]:
    return literature.iso17(fold, task)


if __name__ == "__main__":
    main()
