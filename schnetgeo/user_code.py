"""Classes and functions that the user names by dotted path, of the working folder too.

The working folder is no place that Python looks through by itself: a folder of downloaded data may
hold a file called like a module that something imports later. So the folder is appended to the
path, where it hides nothing, for the import of what the user named and for nothing else; and only
if that lies nowhere else, for installed modules try to import others that may be absent.
"""

import contextlib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

from torch import nn

from schnetgeo.errors import InputError

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def named_class(path: str) -> type[nn.Module]:
    """The class of a dotted path, such as "my_layers.Gate" of my_layers.py in the working folder.

    Raises:
        InputError: if there is none, or if it is no `torch.nn.Module`.
    """
    return checked_class(_named(path, "class", "my_layers.Gate"), path)


def named_function(path: str) -> Callable:
    """The function of a dotted path, such as "my_losses.penalty" of my_losses.py.

    Raises:
        InputError: if there is none, or if it cannot be called.
    """
    function = _named(path, "function", "my_losses.penalty")
    if not callable(function):
        raise InputError(f"{path} is no function; name one")
    return function


def _named(path: str, kind: str, example: str) -> object:
    if not _DOTTED.fullmatch(path):
        raise InputError(f"there is no {kind} {path}; give a dotted path like {example}")
    module, _, name = path.rpartition(".")
    try:
        return getattr(_import(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"there is no {kind} {path}: {error}") from None


def checked_class(found: object, path: str) -> type[nn.Module]:
    """The same object if it may be built from a file's arguments: a `torch.nn.Module`.

    Raises:
        InputError: for any other; a function would be called with what a stranger's file says.
    """
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(f"{path} is no torch.nn.Module; name the class of a model or a layer")
    return found


def import_named(path: object) -> None:
    """Import the module of a dotted path, if it is one and there is such a module."""
    if isinstance(path, str) and _DOTTED.fullmatch(path):
        with contextlib.suppress(ModuleNotFoundError):
            _import(path.rpartition(".")[0])


def _import(module: str) -> ModuleType:
    """The module, or an `InputError` with the line of the user's file that fails."""
    try:
        with _working_folder_last(module):
            return importlib.import_module(module)
    except ImportError:
        raise
    except Exception as error:  # the user's code may raise anything
        if isinstance(error, SyntaxError):
            file, line, text = error.filename, error.lineno, error.msg
        else:
            file, line, *_ = traceback.extract_tb(error.__traceback__)[-1]
            text = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{module} cannot be imported: {file}, line {line}: {text}; correct the file"
        ) from error


def leave_working_folder() -> None:
    """Undo what `python -m` does: it puts the working folder first on the path.

    A folder that holds this package stays: other processes import the package from there.
    """
    here, package = Path.cwd(), Path(__file__).parents[1]
    if sys.path and Path(sys.path[0]).resolve() == here.resolve() != package.resolve():
        del sys.path[0]


@contextlib.contextmanager
def _working_folder_last(module: str) -> Iterator[None]:
    """Append the working folder to the path, if the module lies in none of the others."""
    importlib.invalidate_caches()
    if _is_installed(module.partition(".")[0]):
        yield
        return
    folder = os.getcwd()
    sys.path.append(folder)
    try:
        yield
    finally:
        del sys.path[len(sys.path) - 1 - sys.path[::-1].index(folder)]


def _is_installed(package: str) -> bool:
    """Whether there is such a module on the path, loaded or not; a folder of others is none."""
    specs = (
        finder.find_spec(package, None) for finder in sys.meta_path if hasattr(finder, "find_spec")
    )
    return any(spec is not None and spec.origin is not None for spec in specs)
