"""The commands schnetgeo calibrate and select."""

import numpy as np
import torch
from jsonargparse import Namespace
from torch import Tensor

from schnetgeo.data.loader import ordered_loader
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data_options import add_units, read_files
from schnetgeo.datasets.write import write_dataset
from schnetgeo.errors import InputError
from schnetgeo.parser import Parser
from schnetgeo.potential import Ensemble, Potential, load
from schnetgeo.potential.uncertainty import Uncertainty, select
from schnetgeo.train import calibrate


def calibrate_parser() -> Parser:
    parser = Parser(description="Let a model say how sure it is of energies and forces.")
    parser.add_argument("model", type=str, help="model file, which is written anew")
    parser.add_argument("files", type=str, nargs="+", help="what the model was trained on")
    parser.add_argument(
        "--val_data", type=str, nargs="+", required=True,
        help="files that it was not trained on, whose errors give the scale",
    )  # fmt: skip
    parser.add_argument("--test_data", type=str, nargs="+", help="files to test the result on")
    parser.add_argument("--plot", type=str | None, help="picture of errors over uncertainties")
    add_units(parser)
    return parser


def run_calibrate(options: Namespace) -> None:
    if options.plot and not options.test_data:
        raise InputError("--plot has no effect without --test-data; give files to test on")
    potential = load(options.model)
    train, val = (read_files(files, options) for files in (options.files, options.val_data))
    test = read_files(options.test_data, options) if options.test_data else None
    calibrate(potential, train, val)
    potential.save(options.model)
    print(f"{options.model}: calibrated with {len(train):,} and {len(val):,} structures")
    if test is not None:
        _test(potential, test, options.plot)


def _test(potential: Potential, test: StructureDataset, plot: str | None) -> None:
    """Print how well uncertainties fit the errors, and draw it."""
    from scipy.stats import spearmanr  # which, like the pictures, other commands do not need

    from schnetgeo.viz.reliability import draw_reliability

    curves = uncertainty_errors(potential, test)
    for label, (errors, std) in curves.items():
        ratio = float(np.sqrt(np.mean(np.square(errors / std))))
        rank = float(spearmanr(np.abs(errors), std).statistic)
        print(f"{label}: errors are {ratio:.2f} of what is said, rank correlation {rank:.2f}")
    if plot:
        draw_reliability(curves, plot)
        print(plot)


def uncertainty_errors(
    potential: Potential | Ensemble, test: StructureDataset
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Errors and standard deviations of energies (eV) and forces (eV/Å) that have labels."""
    spread, energy, forces = _predict(potential, test, forces=test.has_property("forces"))
    curves = {}
    for name, unit, value, std in (
        ("energy", "eV", energy, spread.energy), ("forces", "eV/Å", forces, spread.forces),
    ):  # fmt: skip
        if test.has_label(name) and std is not None:
            known = test.mask(name)
            errors = (value - test.get_property(name))[known].flatten().double().numpy()
            curves[f"{name}, {unit}"] = errors, std[known].flatten().double().numpy()
    if not curves:
        raise InputError(f"{test.name}: has no energies to test with; name their key")
    return curves


def _predict(
    potential: Potential | Ensemble, dataset: StructureDataset, forces: bool
) -> tuple[Uncertainty, Tensor, Tensor | None]:
    """Uncertainties, energies and forces of all structures."""
    options = {"forces": forces}
    if isinstance(potential, Potential):
        of_forces = forces and bool(potential.last_layer and potential.last_layer.force_scale)
        options["uncertainty"] = "forces" if of_forces else "energy"
    parts = [potential(batch, **options) for batch in ordered_loader(dataset, 100)]
    spreads = [part.uncertainty for part in parts]
    has_forces = spreads[0].forces is not None
    spread = Uncertainty(
        torch.cat([s.points for s in spreads]),
        torch.cat([s.forces for s in spreads]) if has_forces else None,
    )
    energy = torch.cat([part.energy for part in parts])
    return spread, energy, torch.cat([part.forces for part in parts]) if forces else None


def select_parser() -> Parser:
    parser = Parser(description="Pick the structures that models are least sure of.")
    parser.add_argument("files", type=str, nargs="+", help="the pool, anything ASE reads, or .npz")
    parser.add_argument(
        "--model", type=str, nargs="+", required=True,
        help="a model file that was calibrated, or several, whose spread is taken",
    )  # fmt: skip
    parser.add_argument("--num", type=int, default=100, help="how many structures")
    parser.add_argument(
        "--min_distance", type=float, default=0.1,
        help="structures nearer to a chosen one, as a part of the spread of the pool, are copies",
    )  # fmt: skip
    parser.add_argument("--out", type=str, default="selected.extxyz", help="file for them")
    add_units(parser)
    return parser


def run_select(options: Namespace) -> None:
    potentials = [load(file) for file in options.model]
    potential = potentials[0] if len(potentials) == 1 else Ensemble(potentials)
    pool = read_files(options.files, options)
    spread, _, _ = _predict(potential, pool, forces=False)
    chosen = select(spread.points, options.num, options.min_distance)
    if not len(chosen):
        raise InputError(f"{pool.name}: the model is sure of every structure; give others")
    write_dataset(options.out, [pool[chosen]])
    std = spread.energy
    print(
        f"{options.out}: {len(chosen):,} of {len(pool):,} structures, whose energies are uncertain "
        f"by {1000 * float(std[chosen].min()):.3g} to {1000 * float(std[chosen].max()):.3g} meV; "
        f"the median of all is {1000 * float(std.median()):.3g} meV"
    )
    if len(chosen) < options.num:
        print(f"the other {len(pool) - len(chosen):,} are copies; lower --min-distance for more")
