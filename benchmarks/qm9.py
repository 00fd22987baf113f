"""SchNet and simpler models on properties of QM9, beside the published errors.

`python -m benchmarks.qm9 --target U0 --data FILE... --num-train 1000 4000 --max-minutes 30`, or
`--target all` for a model of each of the twelve that papers compare, and `--target all --joint` for
one model of all.
"""

from collections.abc import Iterator

from jsonargparse import Namespace

from benchmarks import literature
from benchmarks.accuracy.experiments import Subject
from benchmarks.accuracy.runner import command, suite_parser
from benchmarks.literature import Published
from schnetgeo.cli.parser import Parser, flag
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.structure import Structure
from schnetgeo.datasets import QM9
from schnetgeo.datasets.qm9 import TARGETS
from schnetgeo.errors import InputError
from schnetgeo.targets import ENERGY, Target, known_target

COMPARED = ("mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "U0", "U", "H", "G", "Cv")
ENERGIES = ("U0", "U", "H", "G", "U0_atom", "U_atom", "H_atom", "G_atom")  # energies of a structure


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark; an `InputError` becomes one line and exit code 2."""
    command(make_parser(), read_subjects, arguments)


def make_parser() -> Parser:
    parser = suite_parser("benchmarks.qm9", __doc__, channels=128, num_layers=6)
    parser.add_argument(
        "--target", type=str, nargs="+", default=["U0"],
        help=f"of {', '.join(TARGETS)}; all: {', '.join(COMPARED)}",
    )  # fmt: skip
    parser.add_argument(
        "--data", type=str, nargs="+",
        help="QM9's own archive, or .npz with its properties in its units; downloaded unless given",
    )  # fmt: skip
    flag(parser, "--joint", "one model of all the targets")
    flag(parser, "--keep_uncharacterized", "keep the molecules that failed the authors' check")
    parser.set_defaults(
        task="energy", num_train=[10_000], num_val=1_000, batch_size=32, lr=1e-3, max_minutes=30.0
    )
    return parser


def read_subjects(options: Namespace) -> Iterator[Subject]:
    names = list(COMPARED) if options.target == ["all"] else options.target
    for name in names:
        if name not in TARGETS:
            raise InputError(f"unknown target {name!r} of QM9; known: {', '.join(TARGETS)}, all")
    if options.task != "energy":
        raise InputError(f"task {options.task!r} needs forces, which QM9 has not; give energy")
    if options.joint and len(names) < 2:
        raise InputError("--joint is of several targets; give two or more with --target, or all")
    molecules = QM9(options.root, names[0], options.keep_uncharacterized, options.data)
    if options.joint:
        targets = tuple(_target(name) for name in names)
        yield Subject(
            "QM9", "target", "all" if options.target == ["all"] else "+".join(names),
            labeled(molecules, targets), _published, targets, _as_each(names),
            note=f"one model of {', '.join(names)}",
        )  # fmt: skip
        return
    for name in names:
        target = ENERGY if name in ENERGIES else _target(name)
        data = labeled(molecules, (target,), name)
        yield Subject("QM9", "target", name, data, _published, (target,))


def _target(name: str) -> Target:
    """The target of a column of QM9."""
    if name in ("A", "B", "C"):  # rotational constants
        return Target(name, "GHz", extensive=False)
    return Target(name, "eV") if name.endswith("_atom") else known_target(name)


def _as_each(names: list[str]):
    """All structures are tested on each target, a row each."""
    return lambda indices: dict.fromkeys(names, indices)


def labeled(
    molecules: StructureDataset, targets: tuple[Target, ...], column: str | None = None
) -> StructureDataset:
    """The same molecules with the targets as the only labels.

    Args:
        molecules: of QM9.
        targets: what to learn.
        column: of QM9, where the one target has another name.
    """
    columns = {target.name: column or target.name for target in targets}
    for name in columns.values():
        if not molecules.has_property(name):
            known = ", ".join(name for name in TARGETS if molecules.has_property(name))
            raise InputError(f"{molecules.name}: has no {name!r}; it has {known}")
    structures, sizes = molecules.materialize()
    labels = {label: structures[name].double() for label, name in columns.items()}
    labeled = Structure(z=structures.z, pos=structures.pos, **labels)
    return StructureDataset(labeled, sizes, f"QM9 {column or ' '.join(columns)}")


def _published(target: str, task: str, num_train: int) -> list[Published]:
    return literature.qm9(target)


if __name__ == "__main__":
    main()
