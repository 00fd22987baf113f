"""The folder of a training, which one process at a time writes."""

import contextlib
import os
import socket
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from filelock import FileLock, Timeout

from schnetgeo.errors import InputError

_HELD: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())


def is_first_process() -> bool:
    """Whether this is the only process of a training, or the first of several."""
    from lightning.pytorch.utilities import rank_zero_only  # which takes seconds

    return not rank_zero_only.rank


@contextlib.contextmanager
def reserve(out: str | os.PathLike) -> Iterator[None]:
    """Keep other trainings out of a folder; within a block of the same thread it may be repeated.

    Of several processes of one training the first reserves it for all.

    Raises:
        InputError: if another training writes there, with its process and machine, or the folder
            cannot be written.
    """
    out = Path(out).resolve()
    if out in _HELD.get() or not is_first_process():
        yield
        return
    lock, holder = FileLock(out / ".training.lock"), out / ".training.holder"
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{out}: another training writes there, {_read(holder)}; wait until it ends, or choose "
            "another folder (--out)"
        ) from None
    except OSError as error:
        raise _not_written(out, error) from None
    token = _HELD.set(_HELD.get() | {out})
    try:
        _write(holder)
        yield
    finally:
        _HELD.reset(token)
        for path in (holder, out / ".training.lock"):
            with contextlib.suppress(OSError):
                path.unlink()
        lock.release()


def _write(holder: Path) -> None:
    try:
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}")
    except OSError as error:
        raise _not_written(holder.parent, error) from None


def _not_written(out: Path, error: OSError) -> InputError:
    return InputError(f"{out}: cannot be written: {error.strerror or error}")


def _read(holder: Path) -> str:
    try:
        return holder.read_text()
    except (OSError, ValueError):
        return "which has just begun"
