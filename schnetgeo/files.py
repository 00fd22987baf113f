"""Files that are either whole or absent."""

import contextlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from schnetgeo.errors import InputError

MOST_PACKED = 1100  # bytes that one byte of the deflate format can stand for


def write_whole(path: str | os.PathLike, content: bytes) -> None:
    """Write a file completely or not at all; an `InputError` says why it could not be written."""
    path = Path(path)
    part = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}; nothing was left") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


@contextlib.contextmanager
def locked(path: str | os.PathLike, wait: bool = False) -> Iterator[None]:
    """Keep other processes from writing a file or folder at the same time.

    Args:
        path: what is written; the lock lies beside it and goes with the end of the block.
        wait: until the other process is done, instead of raising.

    Raises:
        InputError: if another process is writing, or the folder around `path` cannot be written.
    """
    path = Path(path)
    lock = FileLock(path.parent / f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise InputError(
            f"{path}: another process is writing it; wait until that is done"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}; nothing was left") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # waiting processes notice that the file is gone
            os.unlink(lock.lock_file)
        lock.release()


def check_zip(path: str | os.PathLike) -> None:
    """Raise `InputError` unless the members of a zip archive have the CRC-32s that it states.

    Torch writes checkpoints as such archives and does not compare.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # zipfile fails in many ways on what is none
        raise InputError(f"{path}: not a whole file ({error}); get a fresh copy") from None
    if damaged is not None:
        raise InputError(f"{path}: was changed after writing: {damaged}; get a fresh copy")
