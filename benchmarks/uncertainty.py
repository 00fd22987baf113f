"""Whether uncertainties tell errors: on held-out frames, and on frames of higher energy.

`python -m benchmarks.uncertainty --data rmd17_ethanol.npz rmd17_aspirin.npz --max-minutes 3`
"""

import json
import time
from pathlib import Path

import numpy as np
import torch
from jsonargparse import Namespace
from scipy.stats import spearmanr

from benchmarks.report import aligned, hardware, versions
from benchmarks.suite import run_command
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.split_methods import random_split
from schnetgeo.data_options import add_units, read_files
from schnetgeo.files import atomic_write
from schnetgeo.nn import SchNet
from schnetgeo.parser import Parser, flag
from schnetgeo.potential import Potential
from schnetgeo.train import TrainingConfig, calibrate, fit, new_potential
from schnetgeo.uncertainty_cli import uncertainty_errors
from schnetgeo.viz.reliability import draw_reliability

NUM_VAL, NUM_TEST = 200, 300


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
        data = read_files([file], options)
        for tested, parts in _splits(data, options.seed).items():
            folder = out / Path(file).stem / tested.replace(" ", "_")
            train, val, test = (data[part] for part in parts)
            potential = _trained(train, val, options, folder)
            rows.append({"data": Path(file).stem, "tested": tested, **_row(potential, test, folder),
                         "num_train": len(train), "num_val": len(val), "num_test": len(test),
                         "hardware": hardware(), "versions": versions()})  # fmt: skip
    text = json.dumps(rows, indent=2, ensure_ascii=False)
    atomic_write(out / "results.json", text.encode())
    shown = [k for k, value in rows[0].items() if isinstance(value, str | float)][:-1]
    print(aligned(shown, [[_text(row[k]) for k in shown] for row in rows]))


def _splits(data: StructureDataset, seed: int) -> dict[str, tuple]:
    """Indices to train, validate and test on: at random, and the frames of highest energy last."""
    count = len(data) - NUM_VAL - NUM_TEST
    order = data.get_property("energy").argsort()
    cold = order[: count + NUM_VAL]
    train, val, _ = random_split(len(cold), count, NUM_VAL, 0, seed)
    return {
        "held out": tuple(random_split(len(data), count, NUM_VAL, NUM_TEST, seed)),
        "higher energy": (cold[train], cold[val], order[-NUM_TEST:]),
    }


def _trained(
    train: StructureDataset, val: StructureDataset, options: Namespace, folder: Path
) -> Potential:
    torch.manual_seed(options.seed)
    model = SchNet(channels=64, num_layers=3, gamma=10.0)
    minutes = None if options.max_steps else options.max_minutes
    training = TrainingConfig(
        max_minutes=minutes, max_steps=options.max_steps, seed=options.seed, device="cpu",
        progress=False,
    )  # fmt: skip
    potential = new_potential(model, train)
    begun = {"resume": options.resume, "overwrite": not options.resume}
    potential = fit(potential, train, val, training, folder, **begun).potential.eval()
    calibrate(potential, train, val)
    potential.save(folder / "calibrated.safetensors")
    return potential


def _row(potential: Potential, test: StructureDataset, folder: Path) -> dict:
    """Rank correlation and ratio of errors and uncertainties, and what these cost."""
    curves, row = uncertainty_errors(potential, test), {}
    draw_reliability(curves, folder / "reliability.png")
    for label, (errors, std) in curves.items():
        name = label.partition(",")[0]
        row[f"{name}_rmse"] = float(np.sqrt(np.mean(errors**2)))
        row[f"{name}_error_over_std"] = float(np.sqrt(np.mean((errors / std) ** 2)))
        row[f"{name}_spearman"] = float(spearmanr(np.abs(errors), std).statistic)
    plain, sure = (_seconds(potential, test, name) for name in (None, "energy"))
    return {**row, "cost": sure / plain}


def _seconds(potential: Potential, test: StructureDataset, uncertainty: str | None) -> float:
    """Shortest time of energies and forces of 100 structures."""
    batch, times = test.batch(range(min(100, len(test)))), []
    for _ in range(20):
        start = time.perf_counter()
        potential(batch, uncertainty=uncertainty)
        times.append(time.perf_counter() - start)
    return min(times)


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
