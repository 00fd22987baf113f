"""One engine for all data sets: every model on every case, a row each, finished rows skipped."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from jsonargparse import Namespace
from torch import Tensor

from benchmarks.contestants import Contestant, contestant, without_forces
from benchmarks.details import details, history
from benchmarks.learning_curve import fits
from benchmarks.page import page
from benchmarks.published import Published
from benchmarks.report import hardware, markdown, versions
from benchmarks.rows import Entry, forget, read_entries, row_key, training_key, write_entry
from schnetgeo._version import __version__
from schnetgeo.cli import add_model, check_device, is_first_process
from schnetgeo.data.packed import PackedDataset
from schnetgeo.data.split import Split, note
from schnetgeo.data.validate import check_elements
from schnetgeo.datasets.published import default_split
from schnetgeo.errors import InputError
from schnetgeo.files import write_whole
from schnetgeo.nn import load, num_parameters
from schnetgeo.parser import Parser, flag
from schnetgeo.train import Training, fit, new_potential, predict
from schnetgeo.train.fit import MODEL, check_start
from schnetgeo.train.metrics import Errors, Predictions, errors
from schnetgeo.units import KCAL_MOL
from schnetgeo.viz import show

Numbers = Callable[[str, str, int], list[Published]]  # of a subject, task, training structures


class Subject(NamedTuple):
    """A data set that models are trained on, and how its rows are labeled."""

    dataset: str
    column: str  # molecule, target or fold
    name: str
    data: PackedDataset
    published: Numbers
    unit: str = "eV"  # of what the data set calls energy
    mean: bool = False  # the property does not grow with the molecule
    tests: Callable[[Tensor], dict[str, Tensor]] | None = None  # parts of the test structures
    note: str = ""


class Case(NamedTuple):
    """A subject with one split: what a model is trained and tested on."""

    subject: Subject
    split: Split
    train: PackedDataset
    val: PackedDataset
    tests: dict[str, PackedDataset]
    training: Training
    folder: str  # below --out; "" where there is one case
    note: str | None


class Run(NamedTuple):
    """How a contestant came to its predictions."""

    predict: Callable[[PackedDataset], Predictions]
    parameters: int
    steps: int
    stopped_by: str
    seconds: float


def suite_parser(prog: str, description: str, **defaults) -> Parser:
    """The options that all data sets share; `defaults` are those of SchNet."""
    parser = Parser(prog=f"python -m {prog}", description=description)
    parser.add_argument("--version", action="version", version=f"schnetgeo {__version__}")
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument("--models", type=str, nargs="+",
                        default=["mean", "composition", "baseline", "SchNet"],
                        help="mean, composition, baseline, SchNet (of the options --model), its "
                        "presets, or dotted paths of your own models and layers")  # fmt: skip
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
    add_model(parser, **defaults)
    parser.add_class_arguments(Training, None, skip={"seed"})
    return parser


def command(prog: str, run: Callable[[], None]) -> None:
    """Run a benchmark; an `InputError` becomes one line and exit code 2."""
    sys.path.insert(0, "")  # so that --models my_models.MyNet finds my_models.py here
    try:
        run()
    except InputError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        sys.exit(2)


def run_suite(options: Namespace, subjects: Iterator[Subject]) -> None:
    """Train and test every model on every case, and write results.json and report.html.

    A row whose model, options and structures are those of a finished row in `options.out` is taken
    from there, with the published values and notes of today. A model that diverges is a row that
    says so.

    Raises:
        InputError: before the first training, for whatever would stop a later one.
    """
    out, models = Path(options.out), [contestant(name) for name in options.models]
    check_device(options.device)
    cases = list(_cases(options, list(subjects)))
    pending = [(case, model, _keys(case, model, options)) for case in cases for model in models]
    entries = read_entries(out)
    if options.overwrite:
        begun = {(case.folder, model.name) for case, model, _ in pending}
        entries = {k: e for k, e in entries.items() if tuple(k.split("|")[:2]) not in begun}
    for case, model, keys in pending:
        _check(case, model, options, _known(entries, keys))
    places = []
    for case, model, (training, keys) in pending:
        for subject, key in keys.items():
            place = "|".join((case.folder, model.name, subject))
            found = _finished(entries, place, key)
            if found is None:
                run = _run(case, model, options, training, entries)
                entry = _entry(case, model, subject, run, Entry(place, training, key, {}, {}), out)
            else:
                entry = found._replace(row=found.row | _remarks(case, model, subject))
            places.append(entry.place)
            entries[entry.place] = entry
            if is_first_process() and entry != found:
                write_entry(out, entry)
        if model is models[-1] and is_first_process():
            _picture(case, out / case.folder)
            _report(out, [entries[p] for p in dict.fromkeys([*places, *entries])])
    if is_first_process():
        rows = [entries[place].row for place in places]
        print("\n\n".join([markdown(rows), *map(str, fits(rows))]))
        print(f"\n{out / 'results.json'}, report.html")


def _cases(options: Namespace, subjects: list[Subject]) -> Iterator[Case]:
    names = [name for name in Training.__dataclass_fields__ if name != "seed"]
    for subject in subjects:
        for number in options.num_train:
            for seed in options.seed:
                training = Training(**{name: options[name] for name in names}, seed=seed)
                parts = [
                    subject.name if len(subjects) > 1 else "",
                    f"train{number}" if len(options.num_train) > 1 else "",
                    f"seed{seed}" if len(options.seed) > 1 else "",
                ]
                folder = "/".join(filter(None, parts))
                yield _case(subject, number, options, training, folder)


def _case(
    subject: Subject, number: int, options: Namespace, training: Training, folder: str
) -> Case:
    data = subject.data
    if not data.has("energy"):
        raise InputError(f"{data.where}: has no energy; name its key with --energy-key")
    split = default_split(data, number, options.num_val, options.num_test, training.seed)
    tests = subject.tests(split.test) if subject.tests else {subject.name: split.test}
    empty = [name for name, indices in tests.items() if not len(indices)]
    if empty:
        raise InputError(f"{data.where}: no frame is left to test on; lower num_train or num_val")
    said = "; ".join(filter(None, (options.note, subject.note, note("random", data)))) or None
    parts = data[split.train], data[split.val], {k: data[i] for k, i in tests.items()}
    return Case(subject, split, *parts, training, folder, said)


def _arguments(model: Contestant, options: Namespace) -> dict:
    own = model.name == "SchNet" or model.classes
    return vars(options.model) if own else {}


def _training(case: Case, model: Contestant, options: Namespace) -> Training:
    if model.name != "baseline":
        return case.training
    minutes = case.training.max_minutes or options.baseline_minutes
    return replace(case.training, max_minutes=min(options.baseline_minutes, minutes))


def _keys(case: Case, model: Contestant, options: Namespace) -> tuple[str, dict[str, str]]:
    training = training_key(
        f"{case.subject.dataset} {case.subject.name}",
        model.name,
        _arguments(model, options),
        _training(case, model, options),
        (case.train, case.val),
    )
    return training, {name: row_key(training, name, test) for name, test in case.tests.items()}


def _finished(entries: dict[str, Entry], place: str, key: str) -> Entry | None:
    """The row at this place or, with another name, at another."""
    candidates = [entries[place]] if place in entries else []
    return next((e for e in [*candidates, *entries.values()] if e.key == key), None)


def _remarks(case: Case, model: Contestant, subject: str) -> dict:
    """What a row says that no training finds."""
    numbers = []
    if not model.closed_form and model.name != "baseline":
        numbers = case.subject.published(subject, case.training.task, len(case.train))
    return {"published": [number.as_row() for number in numbers], "note": case.note}


def _known(entries: dict[str, Entry], keys: tuple[str, dict[str, str]]) -> bool:
    """Whether the training, if not all of its rows, is finished."""
    return any(entry.training == keys[0] for entry in entries.values())


def _check(case: Case, model: Contestant, options: Namespace, known: bool) -> None:
    if model.closed_form or known:
        return
    built = _built(case, model, options)
    check_elements(case.subject.data.packed, built.max_z, case.subject.data.where)
    folder = Path(options.out) / case.folder / model.folder
    check_start(
        case.train, case.val, _training(case, model, options), folder,
        options.resume, options.overwrite,
    )  # fmt: skip


def _built(case: Case, model: Contestant, options: Namespace) -> torch.nn.Module:
    torch.manual_seed(case.training.seed)
    return model.build(dict(_arguments(model, options)), case.subject.mean)


def _run(
    case: Case, model: Contestant, options: Namespace, training: str, entries: dict[str, Entry]
) -> Run:
    if model.closed_form:
        solve = model.closed_form
        _, parameters = solve(case.train, case.train)
        return Run(
            lambda test: without_forces(solve(case.train, test), test),
            parameters, 0, "closed form", 0.0,
        )  # fmt: skip
    out = Path(options.out)
    for entry in entries.values():  # trained already, tested on other structures
        path = out / entry.place.split("|")[0] / model.folder / MODEL
        if entry.training == training and path.exists():
            row, potential = entry.row, load(path, model.classes)
            return Run(
                _predictor(potential), row["parameters"], row["steps"], row["stopped_by"],
                row["seconds"],
            )  # fmt: skip
    return _trained(case, model, options, out / case.folder)


def _trained(case: Case, model: Contestant, options: Namespace, folder: Path) -> Run:
    net, training = _built(case, model, options), _training(case, model, options)
    size = num_parameters(net)
    if training.progress and is_first_process():
        print(f"training {model.name}, {size:,} parameters {case.folder}", file=sys.stderr)
    case.split.keep(folder / "split.npz", not options.overwrite, how="random", note=case.note or "")
    if is_first_process():
        forget(Path(options.out), case.folder, model.name)
    done = fit(
        new_potential(net, case.train), case.train, case.val, training, folder / model.folder,
        options.resume, options.overwrite,
    )  # fmt: skip
    return Run(_predictor(done.potential), size, done.steps, done.stopped_by, done.seconds)


def _predictor(potential: torch.nn.Module) -> Callable[[PackedDataset], Predictions]:
    return lambda test: predict(potential, test, forces=test.has("forces"))


def _entry(case: Case, model: Contestant, subject: str, run: Run, entry: Entry, out: Path) -> Entry:
    test, training = case.tests[subject], case.training
    predicted = run.predict(test)
    found = errors(predicted, test)
    sound = all(math.isfinite(value) for value in found if value is not None)
    row = {
        "dataset": case.subject.dataset,
        case.subject.column: subject,
        "model": model.name,
        "task": training.task,
        "seed": training.seed,
        "num_train": len(case.train),
        "num_val": len(case.val),
        "num_test": len(test),
        "parameters": run.parameters,
        "steps": run.steps,
        "stopped_by": run.stopped_by if sound else "diverged",
        "seconds": round(run.seconds, 3),
        "hardware": hardware(),
        "versions": versions(),
        **(_as_row(found, case.subject.unit) if sound else {}),
        "split": case.split.digest,
        **_remarks(case, model, subject),
    }  # fmt: skip
    drawn = {"unit": _unit(case.subject.unit)}
    if sound:
        factor = KCAL_MOL if case.subject.unit == "eV" else 1.0
        drawn |= details(predicted, test, case.train, factor)
    if not model.closed_form:
        drawn["history"] = history(out / case.folder / model.folder)
    return entry._replace(row=row, details=drawn)


def _as_row(found: Errors, unit: str) -> dict:
    if unit == "eV":
        return found.as_row()
    return {"mae": found.energy_mae, "rmse": found.energy_rmse, "unit": unit}


def _unit(unit: str) -> str:
    return "kcal/mol" if unit == "eV" else unit


def _picture(case: Case, folder: Path) -> None:
    test = next(iter(case.tests.values()))
    if not (folder / "picture.png").exists():
        folder.mkdir(parents=True, exist_ok=True)
        show(test[0], forces=test.has("forces"), path=folder / "picture.png")


def _report(out: Path, entries: list[Entry]) -> None:
    rows = [entry.row for entry in entries]
    laws = [law._asdict() for law in fits(rows)]
    for name, content in (("results", rows), ("learning_curve", laws)):
        text = json.dumps(content, indent=2, ensure_ascii=False)
        write_whole(out / f"{name}.json", text.encode())
    text = page(rows, [entry.details for entry in entries], f"{rows[0]['dataset']} benchmark")
    write_whole(out / "report.html", text.encode())
