"""SchNet and simpler models on periodic systems: energies, forces and, where there are any, stress.

`python -m benchmarks.crystals --systems si ni water --data si_crystal.npz ni_crystal.npz
water_periodic.npz --max-minutes 10 --out DIR`
"""

from collections.abc import Iterator

from jsonargparse import Namespace

from benchmarks.accuracy.experiments import Subject
from benchmarks.accuracy.runner import command, suite_parser
from benchmarks.md17 import theory
from schnetgeo.cli.data_options import add_units, read_files
from schnetgeo.cli.parser import Parser
from schnetgeo.errors import InputError
from schnetgeo.train.loss_text import as_loss

# errors of 5 meV per atom, 0.1 eV/Å and 0.2 GPa, which models reach early, weigh alike in order
LOSSES = ("energy/atom:100", "forces:1", "stress:1000")


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark; an `InputError` becomes one line and exit code 2."""
    command(make_parser(), read_subjects, arguments)


def make_parser() -> Parser:
    parser = suite_parser("benchmarks.crystals", __doc__, channels=64, num_layers=3, num_basis=50)
    parser.add_argument(
        "--systems", type=str, nargs="+", default=["si"], help="what the files are called"
    )
    parser.add_argument("--data", type=str, nargs="+", help="a file for each system")
    add_units(parser)
    parser.set_defaults(num_train=[150], num_val=20, batch_size=2, models=["mean", "SchNet"])
    return parser


def read_subjects(options: Namespace) -> Iterator[Subject]:
    """A subject for each file; losses on all labels that they have unless others were named."""
    if len(options.data or []) != len(options.systems):
        raise InputError(
            f"data names {len(options.data or [])} files for {len(options.systems)} systems; give "
            "one for each"
        )
    sets = [read_files([file], options) for file in options.data]
    if not options.losses and options.task == "energy_and_forces":
        has_stress = all(data.has_label("stress") for data in sets)
        options.losses = [as_loss(loss) for loss in LOSSES[: 3 if has_stress else 2]]
    for name, file, data in zip(options.systems, options.data, sets, strict=True):
        if not data.has_property("cell"):
            raise InputError(f"{data.name}: has no cells; take benchmarks.md17 for molecules")
        yield Subject("crystals", "system", name, data, _nothing, note=theory(file))


def _nothing(tested: str, task: str, number: int) -> list:
    """Published errors on these cells: none with a split at random."""
    return []


if __name__ == "__main__":
    main()
