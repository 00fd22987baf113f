"""Options of several commands: the device, and classes of the user."""

from argparse import ArgumentTypeError

import torch

from schnetgeo.errors import InputError
from schnetgeo.user_code import named_class


def check_device(name: str) -> None:
    """Raise `InputError` unless this machine has the device; "auto" is always there."""
    try:
        torch.empty(0, dtype=torch.float64, device="cpu" if name == "auto" else name)
    # without CUDA an AssertionError, without float64, which energies need, a TypeError
    except (RuntimeError, AssertionError, TypeError):
        raise InputError(
            f"device {name!r} cannot be used on this machine; schnetgeo doctor lists those that can"
        ) from None


def class_of(path: str | type) -> type:
    """The class of a dotted path; jsonargparse asks again with what it got."""
    if isinstance(path, type):
        return path
    try:
        return named_class(path)
    except InputError as error:
        raise ArgumentTypeError(str(error)) from None
