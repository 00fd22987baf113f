"""Whether uncertainties tell errors: on held-out frames, and on frames of another temperature.

`python -m benchmarks.uncertainty --data md17_ethanol.npz rmd17_aspirin.npz --max-minutes 3`
"""

import json
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from ase.units import kB
from jsonargparse import Namespace
from scipy.stats import spearmanr

from benchmarks.accuracy.runner import run_command
from benchmarks.accuracy.table import aligned
from benchmarks.machine import hardware, versions
from schnetgeo.cli.data_options import add_units, read_files
from schnetgeo.cli.parser import Parser, flag
from schnetgeo.cli.uncertainty import uncertainty_errors
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.split_methods import random_split
from schnetgeo.files import atomic_write
from schnetgeo.nn import SchNet
from schnetgeo.potential import Potential
from schnetgeo.train import TrainingConfig, calibrate, fit, new_potential
from schnetgeo.viz.reliability import draw_reliability

NUM_VAL, NUM_TEST = 200, 300
DRAWS = 20  # of errors with the variance that is said


class Parts(NamedTuple):
    """What a model is trained on, calibrated with, and tested on."""

    train: StructureDataset
    val: StructureDataset
    test: StructureDataset


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark; an `InputError` becomes one line and exit code 2."""
    run_command(make_parser(), _run, arguments)


def make_parser() -> Parser:
    parser = Parser(prog="python -m benchmarks.uncertainty", description=__doc__)
    parser.add_argument("--data", type=str, nargs="+", required=True, help="files of trajectories")
    parser.add_argument("--max_minutes", type=float | None, default=3.0, help="for each model")
    parser.add_argument("--max_steps", type=int | None, help="for each model, in place of minutes")
    parser.add_argument("--seed", type=int, default=0, help="of weights, split and batches")
    parser.add_argument("--out", type=str, default="runs/uncertainty", help="folder for results")
    flag(parser, "--resume", "go on with the trainings that --out holds")
    add_units(parser)
    return parser


def _run(options: Namespace) -> None:
    out, rows = Path(options.out), []
    for file in options.data:
        data, folder = read_files([file], options), out / Path(file).stem
        held_out, hotter = _held_out(data, options.seed), _hotter(data, options.seed)
        rows += _rows(data, {"held out": held_out}, options, folder / "held_out")
        half = len(hotter.test) // 2
        calibrated = Parts(hotter.train, hotter.test[:half], hotter.test[half:])
        tests = {"hotter": hotter, "hotter, calibrated on such": calibrated}
        rows += _rows(data, tests, options, folder / "hotter")
    text = json.dumps(rows, indent=2, ensure_ascii=False)
    atomic_write(out / "results.json", text.encode())
    shown = [k for k, value in rows[0].items() if isinstance(value, str | float)][:-1]
    print(aligned(shown, [[_text(row[k]) for k in shown] for row in rows]))


def _held_out(data: StructureDataset, seed: int) -> Parts:
    count = len(data) - NUM_VAL - NUM_TEST
    return Parts(*(data[part] for part in random_split(len(data), count, NUM_VAL, NUM_TEST, seed)))


def _hotter(data: StructureDataset, seed: int) -> Parts:
    """Frames of the highest energies to test on, in an order at random."""
    order = data.get_property("energy").argsort()
    cold, hot = order[:-NUM_TEST], order[-NUM_TEST:]
    train, val, _ = random_split(len(cold), len(cold) - NUM_VAL, NUM_VAL, 0, seed)
    (shuffled, _, _) = random_split(NUM_TEST, NUM_TEST, 0, 0, seed)
    return Parts(data[cold[train]], data[cold[val]], data[hot[shuffled]])


def _rows(
    data: StructureDataset, tests: dict[str, Parts], options: Namespace, folder: Path
) -> list[dict]:
    """A row for each way to calibrate and test one model."""
    rows, first = [], next(iter(tests.values()))
    potential = _trained(first, options, folder)
    for name, parts in tests.items():
        calibrate(potential, parts.train, parts.val)
        row = {"data": data.name, "tested": name, "kelvin_above": _kelvin_above(parts)}
        row |= _errors(potential, parts.test, folder / f"{name.replace(' ', '_')}.png")
        rows.append(row | {f"num_{k}": len(part) for k, part in parts._asdict().items()}
                    | {"hardware": hardware(), "versions": versions()})  # fmt: skip
    return rows


def _trained(parts: Parts, options: Namespace, folder: Path) -> Potential:
    torch.manual_seed(options.seed)
    model = SchNet(channels=64, num_layers=3, gamma=10.0)
    minutes = None if options.max_steps else options.max_minutes
    training = TrainingConfig(
        max_minutes=minutes, max_steps=options.max_steps, seed=options.seed, device="cpu",
        progress=False,
    )  # fmt: skip
    begun = {"resume": options.resume, "overwrite": not options.resume}
    potential = new_potential(model, parts.train)
    return fit(potential, parts.train, parts.val, training, folder, **begun).potential.eval()


def _kelvin_above(parts: Parts) -> float:
    """2 ΔE / (3n − 6) k of mean energies: of harmonic molecules so much hotter than in training."""
    train, test = (part.get_property("energy").mean() for part in (parts.train, parts.test))
    return float(2 * (test - train) / ((3 * int(parts.test.num_atoms[0]) - 6) * kB))


def _errors(potential: Potential, test: StructureDataset, picture: Path) -> dict:
    """Rank correlation and ratio of errors and uncertainties, and what these cost."""
    curves, row = uncertainty_errors(potential, test), {}
    draw_reliability(curves, picture)
    for label, (errors, std) in curves.items():
        name = label.partition(",")[0]
        row[f"{name}_rmse"] = float(np.sqrt(np.mean(errors**2)))
        row[f"{name}_error_over_std"] = float(np.sqrt(np.mean((errors / std) ** 2)))
        row[f"{name}_spearman"] = float(spearmanr(np.abs(errors), std).statistic)
        row[f"{name}_spearman_if_exact"] = _exact_spearman(std)
    return {**row, "cost": _cost(potential, test)}


def _exact_spearman(std: np.ndarray) -> float:
    """The rank correlation of normal errors that have just these standard deviations."""
    normal = np.random.default_rng(0).normal(size=(DRAWS, len(std)))
    return float(np.mean([spearmanr(np.abs(std * z), std).statistic for z in normal]))


def _cost(potential: Potential, test: StructureDataset) -> float:
    """Time of energies and forces of 100 structures with uncertainties of energies, over without.

    Shortest of 20 each, by turns; of the processor, which other programs do not lengthen.
    """
    batch = test.batch(range(min(100, len(test))))
    times = {"energy": [], None: []}
    for _ in range(20):
        for uncertainty, seconds in times.items():
            start = time.process_time()
            potential(batch, uncertainty=uncertainty)
            seconds.append(time.process_time() - start)
    return min(times["energy"]) / min(times[None])


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
