"""SchNet and simpler models on properties of QM9, beside the published errors.

`python -m benchmarks.qm9 --target U0 --data FILE... --num-train 1000 4000 --max-minutes 30`
"""

from collections.abc import Iterator

from jsonargparse import Namespace

from benchmarks import published
from benchmarks.cases import Subject
from benchmarks.published import Published
from benchmarks.suite import command, suite_parser
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.structure import Structure
from schnetgeo.datasets import QM9
from schnetgeo.datasets.qm9_properties import TARGETS
from schnetgeo.errors import InputError
from schnetgeo.parser import Parser, flag

INTENSIVE = ("mu", "homo", "lumo", "gap")  # they do not grow with the molecule


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark; an `InputError` becomes one line and exit code 2."""
    command(make_parser(), read_subjects, arguments)


def make_parser() -> Parser:
    parser = suite_parser("benchmarks.qm9", __doc__, channels=128, num_layers=6)
    parser.add_argument(
        "--target", type=str, nargs="+", default=["U0"], help=f"of {', '.join(TARGETS)}"
    )
    parser.add_argument(
        "--data", type=str, nargs="+",
        help="QM9's own archive, or .npz with its properties in its units; downloaded unless given",
    )  # fmt: skip
    flag(parser, "--keep_uncharacterized", "keep the molecules that failed the authors' check")
    parser.set_defaults(
        task="energy", num_train=[10_000], num_val=1_000, batch_size=32, lr=1e-3, max_minutes=30.0
    )
    return parser


def read_subjects(options: Namespace) -> Iterator[Subject]:
    for name in options.target:
        if name not in TARGETS:
            raise InputError(f"unknown target {name!r} of QM9; known: {', '.join(TARGETS)}")
    if options.task != "energy":
        raise InputError(f"task {options.task!r} needs forces, which QM9 has not; give energy")
    molecules = QM9(options.root, options.target[0], options.keep_uncharacterized, options.data)
    for name in options.target:
        unit = TARGETS[name].unit
        yield Subject(
            "QM9", "target", name, _labeled(molecules, name), _published, unit, name in INTENSIVE,
            note="" if unit == "eV" else f"what model files call energy is here {name} in {unit}",
        )  # fmt: skip


def _labeled(molecules: StructureDataset, target: str) -> StructureDataset:
    """The same molecules with the target as the one thing to learn."""
    if not molecules.has_property(target):
        known = ", ".join(name for name in TARGETS if molecules.has_property(name))
        raise InputError(f"{molecules.name}: has no {target!r}; it has {known}")
    structures, sizes = molecules.materialize()
    labeled = Structure(z=structures.z, pos=structures.pos, energy=structures[target].double())
    return StructureDataset(labeled, sizes, f"QM9 {target}")


def _published(target: str, task: str, num_train: int) -> list[Published]:
    return published.qm9(target)


if __name__ == "__main__":
    main()
