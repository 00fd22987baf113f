"""Hyperparameters of a model on the command line, as --model.channels and so on."""

import inspect
from collections.abc import Callable
from functools import partial
from types import UnionType
from typing import Literal, get_args, get_origin, get_type_hints

from jsonargparse import Namespace
from torch import nn

from schnetgeo.nn import SchNet
from schnetgeo.parser import Parser
from schnetgeo.user_code import named_class


def add_model(parser: Parser, **defaults) -> None:
    """The hyperparameters of SchNet as --model.channels and so on, and options of the potential."""
    parser.add_class_arguments(SchNet, "model", help="hyperparameters of SchNet")
    parser.set_defaults({f"model.{name}": value for name, value in defaults.items()})
    parser.add_argument(
        "--filters", type=Literal["spline", "exact"], default="spline",
        help="spline interpolates the filters between knots, exact computes them on every edge",
    )  # fmt: skip
    parser.add_argument("--spacing", type=float | None, help="of the knots, Å")


def model_arguments(options: Namespace, model: type[nn.Module] = SchNet) -> dict:
    """What a model is built with, from its options.

    A class with options of its own, as in `--model.conv my_layers.MyConv --model.conv.heads 4`,
    becomes `functools.partial(MyConv, heads=4)`, or an object where the model takes one.
    """
    hints = get_type_hints(model.__init__)
    return {name: _value(value, hints[name]) for name, value in vars(options).items()}


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
