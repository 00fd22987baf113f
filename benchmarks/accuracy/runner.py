"""Run every model in every experiment, a row each; finished rows are skipped."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from jsonargparse import Namespace

from benchmarks.accuracy.experiments import OWN, Experiment, Subject, experiments
from benchmarks.accuracy.learning_curve import fits, over_seeds
from benchmarks.accuracy.milestone1 import protocol
from benchmarks.accuracy.models import BUILT_IN, benchmark_model
from benchmarks.accuracy.page import page
from benchmarks.accuracy.rows import Entry, read_entries, write_entry
from benchmarks.accuracy.runs import Run, annotations, check, execute, finished, new_run
from benchmarks.accuracy.table import aligned, markdown, subject
from schnetgeo._version import __version__
from schnetgeo.cli.model_options import add_model, add_training
from schnetgeo.cli.parser import Parser, errors_in_one_line, flag
from schnetgeo.cli.run_options import check_device
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_write
from schnetgeo.notes import note, notes_in_one_line
from schnetgeo.train import TrainingConfig
from schnetgeo.train.checks import MODEL
from schnetgeo.train.folder import is_first_process
from schnetgeo.user_code import leave_working_folder
from schnetgeo.viz import show


def suite_parser(prog: str, description: str, **defaults) -> Parser:
    """The options that all data sets share; `defaults` are those of SchNet."""
    parser = Parser(prog=f"python -m {prog}", description=description)
    parser.add_argument("--version", action="version", version=f"schnetgeo {__version__}")
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument("--models", type=str, nargs="+",
                        default=["mean", "composition", "baseline", "SchNet"],
                        help="mean, composition, baseline, SchNet or PaiNN (of the options "
                        "--model), presets of SchNet, or dotted paths of your own models and "
                        "layers, built with the options --model that they take")  # fmt: skip
    parser.add_argument("--root", type=str, default="data", help="folder for downloads")
    parser.add_argument("--num_train", type=int, nargs="+", default=[950],
                        help="structures to train on, one number or several")  # fmt: skip
    parser.add_argument("--num_val", type=int, default=50, help="structures to validate on")
    parser.add_argument("--num_test", type=int | None,
                        help="structures to test on; all others unless given")  # fmt: skip
    parser.add_argument("--seed", type=int, nargs="+", default=[0],
                        help="of weights, split and order of batches, one or several")  # fmt: skip
    parser.add_argument("--note", type=str, default="",
                        help="a caveat of the data, to stand in the table")  # fmt: skip
    parser.add_argument("--baseline_minutes", type=float, default=1.0,
                        help="at most, for the baseline")  # fmt: skip
    parser.add_argument("--out", type=str, default="runs/" + prog.rpartition(".")[2],
                        help="folder for the results")  # fmt: skip
    flag(parser, "--resume", "go on with the trainings that --out holds")
    flag(parser, "--overwrite", "begin anew where --out holds a training or finished rows")
    parser.add_argument("--protocol", type=Literal["milestone1"] | None,
                        help="train the baseline as the milestone report did")  # fmt: skip
    flag(parser, "--normalize", "the labels, in that protocol")
    add_model(parser, **defaults)
    add_training(parser, skip={"seed"})
    return parser


def command(
    parser: Parser,
    subjects: Callable[[Namespace], Iterator[Subject]],
    arguments: list[str] | None,
) -> None:
    """Run a benchmark; an `InputError` becomes one line and exit code 2."""

    def run(options: Namespace) -> None:
        defaults = parser.get_defaults()
        _check_protocol(options, defaults)
        if not options.protocol:
            _note_without_effect(options, defaults)
        (protocol if options.protocol else run_suite)(options, subjects(options))

    run_command(parser, run, arguments)


def run_command(
    parser: Parser, run: Callable[[Namespace], None], arguments: list[str] | None
) -> None:
    """Run what the options ask for; an `InputError` becomes one line and exit code 2."""
    if arguments is None:  # as by python -m
        leave_working_folder()
    with errors_in_one_line(parser.prog.removeprefix("python -m ")), notes_in_one_line():
        run(parser.parse_args(arguments))


def _check_protocol(options: Namespace, defaults: Namespace) -> None:
    """Refuse options without effect: a protocol says how to train, and only it normalizes."""
    beside, lost = "without", ["normalize"]
    if options.protocol:
        sizes = ["num_train", "num_val", "num_test", "baseline_minutes", "resume", "models"]
        training = [name for name in TrainingConfig.__dataclass_fields__ if name != "seed"]
        beside, lost = (
            "beside",
            [*sizes, *training, *(f"model.{k}" for k in vars(options.model)), "filters", "spacing"],
        )
    for name in lost:
        if options[name] != defaults[name]:
            option = "--" + name.replace("_", "-")
            raise InputError(f"{option} has no effect {beside} --protocol; leave it away")


def _note_without_effect(options: Namespace, defaults: Namespace) -> None:
    """Say which options --model a preset or a model of one's own is not built with."""
    given = [k for k, value in vars(options.model).items() if value != defaults.model[k]]
    for name in options.models:
        lost = [
            f"--model.{k}".replace("_", "-") for k in given if k not in benchmark_model(name).takes
        ]
        if lost and name not in BUILT_IN:
            note(f"{name} is built without {', '.join(lost)}, which it does not take")


def run_suite(options: Namespace, subjects: Iterator[Subject]) -> None:
    """Train and test every model in every experiment, and write results.json and report.html.

    A row whose model, options and structures are those of a finished row in `options.out` is taken
    from there, with the published values and notes of today. A model that diverges is a row that
    says so.

    Raises:
        InputError: before the first training, for whatever would stop a later one.
    """
    out, models = Path(options.out), [benchmark_model(name) for name in options.models]
    check_device(options.device)
    every = list(experiments(options, list(subjects)))
    runs = [new_run(experiment, model, options) for experiment in every for model in models]
    entries = read_entries(out)
    if options.overwrite:
        begun = {(run.experiment.folder, run.model.name) for run in runs}
        entries = {p: e for p, e in entries.items() if tuple(p.split("|")[:2]) not in begun}
    known = {entry.training for entry in entries.values()}
    for run in runs:
        if run.key not in known:
            check(run, options)
    places = []
    for run in runs:
        for tested in run.rows:
            entry = _entry(run, tested, options, entries)
            places.append(entry.place)
            if is_first_process() and entry != entries.get(entry.place):
                write_entry(out, entry)
            entries[entry.place] = entry
        if run.model is models[-1] and is_first_process():
            _picture(run.experiment, out / run.experiment.folder)
            _report(out, [entries[p] for p in dict.fromkeys([*places, *entries])])
    if is_first_process():
        rows = [entries[place].row for place in places]
        print(markdown(rows) + "\n")
        header, cells = over_seeds(rows)
        if cells:
            print(aligned(header, cells) + "\n")
        for law in fits(rows):
            print(f"* {law}\n")
        print(_closing(runs, rows, out))


def _closing(runs: list[Run], rows: list[dict], out: Path) -> str:
    """What was trained, what was written, and what to do with the last model."""
    written = f"mean absolute errors, also in {out}/report.html and results.json"
    each = [run for run in runs for _ in run.rows]
    trained = [
        (run, row)
        for run, row in zip(each, rows, strict=True)
        if (run.folder(out) / MODEL).exists()
    ]
    if not trained:
        return written
    last, row = trained[-1]
    model, picture = last.folder(out) / MODEL, out / last.experiment.folder / "picture.png"
    return "\n".join([
        f"trained  {row['model']}, {row['parameters']:,} parameters, on {row['num_train']:,} "
        f"structures: {row['steps']:,} steps in {row['seconds']:.0f} s, after "
        f"{row['compile_seconds']:.0f} s of compiling",
        f"written  {out}/report.html, results.json; {model}; {picture}",
        f"next     schnetgeo evaluate {model} FILE",
        f'         sg.load("{model}")(sg.from_ase(atoms)).energy    in Python, eV',
        f'         atoms.calc = sg.Calculator("{model}")    with ASE',
    ])  # fmt: skip


def _entry(run: Run, tested: str, options: Namespace, entries: dict[str, Entry]) -> Entry:
    """The finished row at its place or, with another name, at another; else a new one."""
    here = entries.get(run.place(tested))
    for entry in filter(None, (here, *entries.values())):
        if entry.key == run.rows[tested]:
            return entry._replace(row=entry.row | annotations(run, tested))
    return finished(run, tested, execute(run, options, entries), Path(options.out))


def _picture(experiment: Experiment, folder: Path) -> None:
    test = next(iter(experiment.tests.values()))
    if not (folder / "picture.png").exists():
        folder.mkdir(parents=True, exist_ok=True)
        forces = test.has_property("forces") and bool(test[0].forces.isfinite().all())
        show(test[0], forces=forces, path=folder / "picture.png")


def _report(out: Path, entries: list[Entry]) -> None:
    rows = [entry.row for entry in entries]
    laws = [law._asdict() for law in fits(rows)]
    for name, content in (("results", rows), ("learning_curve", laws)):
        text = json.dumps(content, indent=2, ensure_ascii=False)
        atomic_write(out / f"{name}.json", text.encode())
    text = page(rows, [entry.details for entry in entries], _title(rows))
    atomic_write(out / "report.html", text.encode())


def _title(rows: list[dict]) -> str:
    """The data sets of the rows; one's own data by the names that they were given."""
    names = dict.fromkeys(subject(r) if r["dataset"] == OWN else r["dataset"] for r in rows)
    return f"Benchmark: {', '.join(names)}"
