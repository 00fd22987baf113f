"""Files that are either whole or absent."""

import contextlib
import os
from pathlib import Path

from schnetgeo.errors import InputError


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Write a file completely or not at all; an `InputError` says why it could not be written."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}; nothing was left") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
