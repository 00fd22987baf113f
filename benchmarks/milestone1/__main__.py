"""The milestone report again: its table 5 and figures 1 to 5 beside ours, on one page.

`python -m benchmarks.milestone1 --qm9 FILE... --molecules ethanol --md17 FILE --out DIR`

Data sets without a file are lines that say so; with --download they are fetched.
"""

from collections.abc import Iterator

from jsonargparse import Namespace

from benchmarks import literature
from benchmarks.accuracy.experiments import Subject
from benchmarks.accuracy.milestone1 import measured, new_folder, write_results
from benchmarks.accuracy.milestone1_table import table
from benchmarks.accuracy.runner import run_command
from benchmarks.machine import hardware
from benchmarks.md17 import theory
from benchmarks.milestone1.figures import figures
from schnetgeo.cli.data_options import add_units, read_files
from schnetgeo.cli.parser import Parser, flag
from schnetgeo.datasets import ISO17, MD17, QM9
from schnetgeo.datasets.md17 import MOLECULES
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_write

_PAGE = """# The milestone report, again

{hardware}

## Table 5

A fully connected network is trained for one epoch on 10,000 structures and tested on 100, once for
energies, once for forces, once for both. "Report" is what the report prints, "ours" the same
protocol in this package, "mean" what one gets without any training: the mean energy of the training
structures, and forces of zero. Losses are mean absolute errors in the unit of the line, per Å for
forces, and for both the sum 0.01 |E − Ê|² + (1/n) Σ |F − F̂|², which has no unit.

{table}

## Why these numbers are not targets

* **They are losses of a network on its way to the label, not errors of a model.** Raw energies are
  −10⁵ kcal/mol and a new network says about 0, so the loss is how far it has come in one epoch. It
  depends on the step size, which the report does not state: ours is 0.01, which of 0.001, 0.01 and
  0.03 gives losses nearest to the report's size; with 0.001 the energies hardly move. It depends on
  the seed as well, by a factor of two for aspirin (`python -m benchmarks.md17 --protocol milestone1
  --seed 0 1 2 3 4`), so that a line that agrees with the report does so by chance. For a molecule
  of MD17 the mean energy of its training frames, a single number, is hundreds of times better: the
  columns "mean".
* **Normalized labels remove that**, as the report's own section 3.1.1 found. The lines "baseline,
  normalized" end at what the mean energy gives, for QM9 at what an energy for each element gives,
  21 kcal/mol, where SchNet has 0.31.
* **This network cannot learn the rest.** It sees each atom alone, at its absolute position: it
  knows no distance, and its energy changes when a molecule is turned.
* **Force losses of about 20 kcal/mol/Å are those of no forces at all.** The report finds its 0.82
  for ISO17 at the level of the paper's baseline, 19.56; it is, since 0.82 eV/Å are 18.9 kcal/mol/Å.
* **Units.** The report says kcal/mol throughout. Its data loader gives QM9 in Hartree (5.64 Hartree
  are 3,539 kcal/mol), MD17 in kcal/mol, ISO17 in eV. The later reports of its authors compare such
  numbers with the papers too: 0.60 for QM9 beside the paper's 0.59 is Hartree beside kcal/mol, and
  0.25 for ISO17 beside 0.36 is eV beside kcal/mol, of structures drawn at random from the fold
  `reference`, which is neither of the test folds.

What SchNet reaches on these data, with published errors in their own unit beside it, is what
`benchmarks.qm9`, `benchmarks.md17` and `benchmarks.iso17` print.

## Figures

{figures}
"""


def main(arguments: list[str] | None = None) -> None:
    """Run the protocol on all that is given; an `InputError` becomes one line and exit code 2."""
    run_command(_parser(), _run, arguments)


def _parser() -> Parser:
    parser = Parser(prog="python -m benchmarks.milestone1", description=__doc__)
    parser.add_argument("--qm9", type=str, nargs="+", help="QM9's archive, or .npz in its units")
    parser.add_argument("--molecules", type=str, nargs="+", default=_of_the_report(),
                        help="of MD17")  # fmt: skip
    parser.add_argument("--md17", type=str, nargs="+", help="a file for each molecule")
    parser.add_argument("--iso17", type=str | None, help="its archive, or a folder of its files")
    flag(parser, "--any_counts", "take folds of ISO17 of other sizes than those that are known")
    flag(parser, "--download", "fetch what is not given")
    add_units(parser)
    parser.add_argument("--root", type=str, default="data", help="folder for downloads")
    parser.add_argument("--seed", type=int, default=0, help="of weights, split and batches")
    parser.add_argument("--out", type=str, default="runs/milestone1", help="folder for the results")
    flag(parser, "--overwrite", "write over the results that --out holds")
    return parser


def _of_the_report() -> list[str]:
    numbers = literature.milestone()
    return list(dict.fromkeys(n.subject for n in numbers if n.dataset == "MD17"))


def _run(options: Namespace) -> None:
    subjects = list(_subjects(options))
    if not subjects:
        raise InputError("no data: name files with --qm9, --md17, --iso17, or give --download")
    out = new_folder(options.out, options.overwrite)
    results = [
        result
        for normalize in (False, True)
        for subject in subjects
        for result in measured(subject, options.seed, normalize, out)
    ]
    rows = [result.row for result in results]
    write_results(out, rows)
    drawn = "\n\n".join(
        f"![{caption}]({file})\n\n{caption}" for file, caption in figures(results, subjects, out)
    )
    shown = table(rows, whole=True)
    page = _PAGE.format(hardware=hardware(), table=shown, figures=drawn)
    atomic_write(out / "milestone1.md", page.encode())
    print(f"{shown}\n\n{out / 'results.json'}, milestone1.md")


def _subjects(options: Namespace) -> Iterator[Subject]:
    if options.md17 and len(options.md17) != len(options.molecules):
        raise InputError(
            f"md17 names {len(options.md17)} files for {len(options.molecules)} molecules; give "
            "one for each of --molecules"
        )
    unknown = [name for name in options.molecules if name not in MOLECULES]
    if unknown:
        raise InputError(f"unknown molecule {unknown[0]!r}; known: {', '.join(MOLECULES)}")
    if options.qm9 or options.download:
        data = QM9(options.root, "U0", file=options.qm9)
        yield Subject("QM9", "target", "U0", data, literature.qm9)
    if options.md17 or options.download:
        for molecule, file in zip(
            options.molecules, options.md17 or [None] * len(options.molecules), strict=True
        ):
            data = read_files([file], options) if file else MD17(options.root, molecule)
            yield Subject("MD17", "molecule", molecule, data, literature.md17,
                          note=theory(file) if file else "")  # fmt: skip
    if options.iso17 or options.download:
        data = ISO17(options.root, ["reference", "test_within"], options.iso17,
                     not options.any_counts)  # fmt: skip
        yield Subject("ISO17", "fold", "ISO17", data, literature.iso17)


if __name__ == "__main__":
    main()
