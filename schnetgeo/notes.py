"""Notes on data: what was assumed or left out, one line each, as warnings."""

import contextlib
import sys
import warnings
from collections.abc import Iterator

from schnetgeo.errors import as_options


class DataNote(UserWarning):
    """What a reader assumed, doubts or left out; `warnings` can silence or raise it."""


def note(text: str) -> None:
    """Warn with one line, which names the file or data set that it is about."""
    warnings.warn(text, DataNote, stacklevel=2)


@contextlib.contextmanager
def notes_in_one_line() -> Iterator[None]:
    """Within the block notes go to stderr without Python's line of source, each once."""
    shown, others = set(), warnings.showwarning

    def show(message, category, *args, **options):
        if not issubclass(category, DataNote):
            others(message, category, *args, **options)
        elif str(message) not in shown:
            shown.add(str(message))
            print(f"schnetgeo: note: {as_options(str(message))}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", DataNote)
        warnings.showwarning = show
        yield
