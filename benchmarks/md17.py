"""SchNet and three simpler models on MD17, beside the published errors.

`python -m benchmarks.md17 --molecules ethanol --data FILE --max-minutes 30 --out DIR`
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from jsonargparse import Namespace

from benchmarks import published
from benchmarks.report import hardware, html, markdown, versions
from schnetgeo._version import __version__
from schnetgeo.cli import (
    add_model,
    add_units,
    check_device,
    is_first_process,
    read_files,
)
from schnetgeo.data.packed import PackedDataset
from schnetgeo.data.split import Split, note, random_split
from schnetgeo.data.statistics import compositions, fit_composition
from schnetgeo.data.validate import check_elements
from schnetgeo.datasets import Demo, open_dataset
from schnetgeo.errors import InputError
from schnetgeo.files import write_whole
from schnetgeo.nn import Baseline, SchNet, num_parameters
from schnetgeo.parser import Parser, flag
from schnetgeo.train import Training, evaluate, fit, new_potential
from schnetgeo.train.fit import check_start
from schnetgeo.train.metrics import Errors, Predictions, errors
from schnetgeo.viz import show


class Row(NamedTuple):
    """One model on one molecule."""

    model: str
    errors: Errors
    parameters: int
    steps: int
    stopped_by: str
    seconds: float


def mean_predictor(train: PackedDataset, test: PackedDataset) -> Row:
    """The mean energy of the training frames, and no force."""
    started = time.monotonic()
    energy = train.values("energy").mean().expand(len(test))
    return _closed_form("mean predictor", energy, test, 1, started)


def composition_model(train: PackedDataset, test: PackedDataset) -> Row:
    """A least-squares energy for each element; what references alone explain."""
    started = time.monotonic()
    references = fit_composition(compositions(train, 100), train.values("energy"))
    energy = compositions(test, 100).double() @ references
    return _closed_form("linear composition", energy, test, int((references != 0).sum()), started)


def _closed_form(name: str, energy, test: PackedDataset, parameters: int, started: float) -> Row:
    forces = torch.zeros_like(test.values("forces")) if test.has("forces") else None
    predicted = Predictions(energy, forces)
    seconds = time.monotonic() - started
    return Row(name, errors(predicted, test), parameters, 0, "closed form", seconds)


def trained(
    name: str, model: torch.nn.Module, parts: list[PackedDataset], training: Training, out: Path,
    options: Namespace,
) -> Row:  # fmt: skip
    """Train a model and report its errors on the test frames."""
    train, val, test = parts
    if training.progress and is_first_process():
        print(f"training {name}, {num_parameters(model):,} parameters", file=sys.stderr)
    potential = new_potential(model, train)
    result = fit(potential, train, val, training, out, options.resume, options.overwrite)
    return Row(
        name,
        evaluate(result.potential, test),
        num_parameters(model),
        result.steps,
        result.stopped_by,
        result.seconds,
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark; an `InputError` becomes one line and exit code 2."""
    try:
        _run(_parser().parse_args(arguments))
    except InputError as error:
        print(f"benchmarks.md17: {error}", file=sys.stderr)
        sys.exit(2)


def _parser() -> Parser:
    parser = Parser(prog="python -m benchmarks.md17", description=__doc__)
    parser.add_argument("--version", action="version", version=f"schnetgeo {__version__}")
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument(
        "--molecules", type=str, nargs="+", default=["ethanol"], help="of MD17, such as aspirin"
    )
    parser.add_argument(
        "--data", type=str, nargs="+", help="a file for each molecule; downloaded unless given"
    )
    flag(parser, "--demo", "the ethanol that ships with the package")
    parser.add_argument("--root", type=str, default="data", help="folder for downloads")
    add_units(parser)
    parser.add_argument("--num_train", type=int, default=950, help="frames to train on")
    parser.add_argument("--num_val", type=int, default=50, help="frames to validate on")
    parser.add_argument(
        "--num_test", type=int | None, help="frames to test on; all others unless given"
    )
    parser.add_argument("--baseline_minutes", type=float, default=1.0,
                        help="at most, for the baseline")  # fmt: skip
    parser.add_argument("--out", type=str, default="runs/md17", help="folder for the results")
    flag(parser, "--resume", "go on with the trainings that --out holds")
    flag(parser, "--overwrite", "begin anew where --out holds a training")
    # the wide Gaussians of the papers make smooth filters, which err less on unseen frames
    add_model(parser, channels=64, num_layers=3, gamma=10.0)
    parser.add_class_arguments(Training, None)
    parser.set_defaults(lr=3e-3)
    return parser


def _run(options: Namespace) -> None:
    out = Path(options.out)
    training = Training(**{name: options[name] for name in Training.__dataclass_fields__})
    check_device(training.device)
    rows = []
    for molecule, dataset in list(_datasets(options)):  # all must open before the first trains
        folder = out / molecule if len(options.molecules) > 1 else out
        rows += _molecule(molecule, dataset, training, options, folder)
        if not is_first_process():
            continue
        write_whole(out / "results.json", json.dumps(rows, indent=2, ensure_ascii=False).encode())
        write_whole(out / "report.html", html(rows, rows[0]["dataset"]).encode())
    if not is_first_process():
        return
    print(markdown(rows))
    print(f"\n{out / 'results.json'}, report.html, model.safetensors, picture.png")


def _datasets(options: Namespace) -> Iterator[tuple[str, PackedDataset]]:
    if options.demo and options.data:
        raise InputError("demo has data of its own; leave --demo or --data away")
    if options.demo:
        yield "ethanol (GFN2-xTB)", Demo("ethanol")
        return
    if options.data and len(options.data) != len(options.molecules):
        raise InputError(
            f"data names {len(options.data)} files for {len(options.molecules)} molecules; give "
            "one for each"
        )
    for index, molecule in enumerate(options.molecules):
        if options.data:
            yield molecule, read_files([options.data[index]], options)
        else:
            yield molecule, open_dataset("MD17", root=options.root, molecule=molecule)


def _molecule(
    molecule: str, dataset: PackedDataset, training: Training, options: Namespace, out: Path
) -> list[dict]:
    counts = options.num_train, options.num_val, options.num_test
    split = random_split(len(dataset), *counts, seed=training.seed)
    parts = [dataset[indices] for indices in split]
    train, _, test = parts
    if not len(test):
        raise InputError(f"{dataset.where}: no frame is left to test on; lower num_train")
    if not dataset.has("energy"):
        raise InputError(f"{dataset.where}: has no energy; name its key with --energy-key")
    torch.manual_seed(training.seed)
    baseline, schnet = Baseline(), SchNet(**vars(options.model))
    check_elements(dataset.packed, min(baseline.max_z, schnet.max_z), dataset.where)
    minutes = min(options.baseline_minutes, training.max_minutes or options.baseline_minutes)
    short = replace(training, max_minutes=minutes)
    check_start(*parts[:2], training, out, options.resume, options.overwrite)
    said = note("random", dataset)
    split.keep(out / "split.npz", options.resume, how="random", note=said or "")
    rows = [
        mean_predictor(train, test),
        composition_model(train, test),
        trained("baseline", baseline, parts, short, out / "baseline", options),
        trained("SchNet", schnet, parts, training, out, options),
    ]
    if is_first_process():
        show(test[0], forces=test.has("forces"), path=out / "picture.png")
    return [
        {
            "dataset": "Demo" if options.demo else "MD17",
            **_as_json(row, molecule, split, training),
            "split": split.digest,
            "note": said,
        }
        for row in rows
    ]


def _as_json(row: Row, molecule: str, split: Split, training: Training) -> dict:
    is_schnet = row.model == "SchNet"
    numbers = published.md17(molecule, training.task) if is_schnet else []
    return {
        "molecule": molecule,
        "model": row.model,
        "task": training.task,
        "seed": training.seed,
        "num_train": len(split.train),
        "num_val": len(split.val),
        "num_test": len(split.test),
        "parameters": row.parameters,
        "steps": row.steps,
        "stopped_by": row.stopped_by,
        "seconds": round(row.seconds, 3),
        "hardware": hardware(),
        "versions": versions(),
        **row.errors.as_row(),
        "published": [number._asdict() for number in numbers],
    }


if __name__ == "__main__":
    main()
