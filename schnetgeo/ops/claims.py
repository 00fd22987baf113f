"""Which function each process is compiling, so that no two compile the same one.

A claim is a lock on one byte of a file, which ends with its process.
"""

import errno
import functools
import hashlib
import os
import sys

from schnetgeo.ops.kernel_folder import folder

if sys.platform != "win32":
    import fcntl


def take(name: str) -> bool:
    """Claim a function, unless another process has; where files cannot be locked, always."""
    file = _file(os.getpid())
    if file is None:
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _byte(name))
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True


def release(name: str) -> None:
    """Give a claim up."""
    file = _file(os.getpid())
    if file is not None:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, _byte(name))


@functools.lru_cache(1)  # a process made by fork opens the file itself
def _file(process: int) -> int | None:
    """The file, which stays open: to close it would end all claims."""
    if sys.platform == "win32":
        return None
    path = folder().parents[1] / "claims"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return None


def _byte(name: str) -> int:
    digest = hashlib.sha256(f"{folder().name}/{name}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
