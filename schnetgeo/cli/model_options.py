"""Hyperparameters of a model on the command line, as --model.channels and so on."""

import inspect
from argparse import ArgumentError, ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Literal, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import Namespace
from torch import nn

import schnetgeo.nn
from schnetgeo.cli.parser import Parser
from schnetgeo.errors import InputError
from schnetgeo.nn import AtomisticModel, SchNet
from schnetgeo.train import FunctionLoss, Loss, TrainingConfig
from schnetgeo.train.loss_text import as_loss
from schnetgeo.user_code import named_class
from schnetgeo.yaml_size import check_yaml


def scan_architecture(arguments: list[str] | None) -> type[AtomisticModel]:
    """The class of --architecture on a command line or in its --config, before that is parsed.

    Which options there are depends on it. What cannot be read is left to the parser, which says so.

    Raises:
        InputError: if there is no such class.
    """
    scan = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    scan.add_argument("--architecture")
    scan.add_argument("--config")
    try:
        options, _ = scan.parse_known_args(arguments)
    except ArgumentError:
        return SchNet
    return find_architecture(options.architecture or _in_file(options.config) or "SchNet")


def find_architecture(name: str) -> type[AtomisticModel]:
    """The class of a model of this package by its name, or of one of yours by its dotted path."""
    cls = named_class(name) if "." in name else getattr(schnetgeo.nn, name, type(None))
    if not (isinstance(cls, type) and issubclass(cls, AtomisticModel)):
        raise InputError(
            f"architecture: {name} is no model; give SchNet, PaiNN, or the dotted path of a class "
            "that derives from schnetgeo.nn.AtomisticModel"
        )
    return cls


def _in_file(config: str | None) -> str | None:
    try:
        text = Path(config or "").read_text()
        check_yaml(text, config)
        return str(yaml.safe_load(text)["architecture"])
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError, InputError):
        return None


def add_model(parser: Parser, model: type[nn.Module] = SchNet, **defaults) -> None:
    """A model's hyperparameters as --model.channels and so on, and options of the potential."""
    parser.add_class_arguments(model, "model", help=f"hyperparameters of {model.__name__}")
    parser.set_defaults({f"model.{name}": value for name, value in defaults.items()})
    parser.add_argument(
        "--filters", type=Literal["spline", "exact"], default="spline",
        help="spline interpolates the filters between knots, exact computes them on every edge",
    )  # fmt: skip
    parser.add_argument("--spacing", type=float | None, help="of the knots, Å")


def add_training(parser: Parser, skip: set[str] = frozenset()) -> None:
    """The options of a training as --lr and so on, and its losses."""
    parser.add_class_arguments(TrainingConfig, None, skip={"losses", *skip}, help="the training")
    parser.add_argument(
        "--losses", type=loss_of, nargs="+", default=[],
        help="instead of task, loss and rho: TARGET[/atom][:WEIGHT[:ERROR]], such as energy:0.01 "
        "forces:1:huber=0.05 stress:10, where ERROR is mse, mae, huber=DELTA or a function of "
        "yours, as my_losses.error; or my_losses.penalty[:WEIGHT] of prediction and batch",
    )  # fmt: skip


def loss_of(text: str | Loss | FunctionLoss) -> Loss | FunctionLoss:
    """A loss for jsonargparse, which asks again with what it got."""
    try:
        return as_loss(text)
    except InputError as error:
        raise ArgumentTypeError(str(error)) from None


def model_arguments(options: Namespace, model: type[nn.Module] = SchNet) -> dict:
    """What a model is built with, from its options.

    A class with options of its own, as in `--model.conv my_layers.MyConv --model.conv.heads 4`,
    becomes `functools.partial(MyConv, heads=4)`, or an object where the model takes one.
    """
    hints = get_type_hints(model.__init__)
    return {name: _value(value, hints.get(name)) for name, value in vars(options).items()}


def potential_arguments(options: Namespace) -> dict:
    """The options of a potential by their names."""
    return {"filters": options.filters, "spacing": options.spacing}


def _value(value: object, hint: object) -> object:
    if not (isinstance(value, Namespace) and "class_path" in value):
        return value
    cls = named_class(value.class_path)
    parameters = inspect.signature(cls).parameters
    arguments = vars(value.get("init_args") or Namespace())
    arguments = {k: v for k, v in arguments.items() if v != parameters[k].default}
    if not _takes_class(hint):
        return cls(**arguments)
    return partial(cls, **arguments) if arguments else cls


def _takes_class(hint: object) -> bool:
    """Whether a parameter takes a class that the model calls, rather than an object."""
    alternatives = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    return any(get_origin(kind) is Callable for kind in alternatives)
