"""The command schnetgeo calibrate."""

import numpy as np
from jsonargparse import Namespace

from schnetgeo.cli.data_options import add_units
from schnetgeo.cli.parser import Parser
from schnetgeo.cli.trained_files import read_as_trained
from schnetgeo.cli.uncertainty import uncertainty_errors
from schnetgeo.data.packed import StructureDataset
from schnetgeo.errors import InputError
from schnetgeo.potential import Potential, load
from schnetgeo.potential.features import check_last_layer
from schnetgeo.train import calibrate


def make_parser() -> Parser:
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


def run(options: Namespace) -> None:
    if options.plot and not options.test_data:
        raise InputError("--plot has no effect without --test-data; give files to test on")
    potential = load(options.model)
    check_last_layer(potential)
    train, val = (
        read_as_trained(files, options, potential) for files in (options.files, options.val_data)
    )
    test = read_as_trained(options.test_data, options, potential) if options.test_data else None
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
