"""A model built from a file is no larger than the file."""

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping

from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from schnetgeo.errors import InputError

# what a module may register beyond what is saved: constants, and what it replaces while it is built
_ENTRIES, _NUMBERS = 1000, 2**22


@contextlib.contextmanager
def no_larger_than(tensors: Mapping[str, Tensor], path: str | os.PathLike) -> Iterator[None]:
    """Within the block modules register few more parameters and buffers than `tensors` are.

    A header of some bytes can ask for a billion layers, or for channels that no memory holds. A
    parameter is counted before numbers are written into it, so it takes no memory until then.

    Args:
        tensors: what the file holds.
        path: the file.

    Raises:
        InputError: as soon as there are more.
    """
    entries = 4 * len(tensors) + _ENTRIES
    numbers = 4 * sum(tensor.numel() for tensor in tensors.values()) + _NUMBERS
    thread = threading.get_ident()

    def count(module: nn.Module, name: str, value: Tensor | None) -> None:
        nonlocal entries, numbers
        if value is None or threading.get_ident() != thread:
            return
        entries, numbers = entries - 1, numbers - value.numel()
        if entries < 0 or numbers < 0:
            raise InputError(
                f"{path}: the header asks for a model far larger than the {len(tensors)} arrays of "
                "the file; get a fresh copy"
            )

    hooks = (
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
