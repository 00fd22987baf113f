"""Options of the commands that run a model: which one, where, and with which tables."""

from typing import Literal

import torch
from jsonargparse import Namespace

from schnetgeo.cli.parser import Parser
from schnetgeo.cli.run_options import check_device, class_of
from schnetgeo.potential import load
from schnetgeo.potential.tabulated import TabulatedPotential
from schnetgeo.simulate.calculator import Calculator
from schnetgeo.simulate.model_source import ModelSource, tabulated_or_same
from schnetgeo.train.configuration import check_threads


def add_model_file(parser: Parser) -> None:
    """The options that `read_model` reads."""
    parser.add_argument("model", type=str, help="model file")
    parser.add_argument(
        "--members", type=str, nargs="+", default=[],
        help="further model files, which make an ensemble with the first",
    )  # fmt: skip
    parser.add_argument("--device", type=str, default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--precision", type=Literal["32", "64"] | None,
        help="32 or 64, of model and forces; that of the file unless given",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: torch's choice")
    parser.add_argument(
        "--classes", type=class_of, nargs="*", default=[], help="your own, of the model"
    )


def read_model(options: Namespace, tolerance: float | None = None) -> ModelSource:
    """The model that the options name, tabulated where a tolerance is given and it can be."""
    check_device(options.device)
    check_threads(options.threads)
    if options.threads:
        torch.set_num_threads(options.threads)
    members = [load(file, tuple(options.classes)) for file in (options.model, *options.members)]
    if options.precision:
        dtype = torch.float64 if options.precision == "64" else torch.float32
        members = [member.to(dtype) for member in members]
    source = ModelSource.of(members if len(members) > 1 else members[0], options.device)
    names = ", ".join((options.model, *options.members))
    if tolerance is not None and len(members) == 1:
        source = ModelSource.of(tabulated_or_same(source.potential, tolerance))
    return source._replace(name=names)


def add_tolerance(parser: Parser) -> None:
    """The option --tolerance of simulations."""
    parser.add_argument(
        "--tolerance", type=float, default=1e-5,
        help="relative error of the filters' tables, where it can be tabulated; 0: no tables",
    )  # fmt: skip


def make_calculator(options: Namespace) -> Calculator:
    """A calculator of the model that the options name; a line says what it is."""
    source = read_model(options, options.tolerance or None)
    calculator = Calculator(source.potential)
    calculator.parameters.source = source.name
    if isinstance(source.potential, TabulatedPotential):
        calculator.parameters.tolerance = options.tolerance
        print(f"{source.name}: filters tabulated to {source.potential.error:.1g}")
    return calculator
