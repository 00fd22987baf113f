"""Files that are either whole or absent."""

import contextlib
import errno
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from schnetgeo.errors import InputError

MOST_PACKED = 1100  # bytes that one byte of the deflate format can stand for


@contextlib.contextmanager
def atomic_path(path: Path, mark: str = "") -> Iterator[Path]:
    """A path to write to; it takes the name `path` if the block ends well, else it vanishes.

    Args:
        path: what is written, by one process at a time.
        mark: more for the name of the part, for processes that know nothing of each other.
    """
    part = path.parent / f".{path.name}{mark}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)  # of a process that was killed
        yield part
        os.replace(part, path)
    except OSError as error:
        raise write_error(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def atomic_write(path: str | os.PathLike, content: bytes) -> None:
    """Write a file completely or not at all; an `InputError` says why it could not be written."""
    with atomic_path(Path(path), f".{os.getpid()}") as part:
        part.write_bytes(content)


def write_error(path: str | os.PathLike, error: OSError) -> InputError:
    """What to raise where a file cannot be written."""
    hint = "free some space; " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return InputError(f"{path}: cannot be written: {error.strerror}; {hint}nothing was left")


@contextlib.contextmanager
def file_lock(path: str | os.PathLike, wait: bool = False) -> Iterator[None]:
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
        raise write_error(path, error) from None
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
