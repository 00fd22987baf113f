"""Where published files come from, and how they get here: whole, checked, once."""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pooch
from filelock import FileLock

from schnetgeo._version import __version__
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_path, atomic_write, write_error

CHECKSUMS = "checksums.json"  # beside the data: what each file was when it came
TIMEOUT = 30.0  # seconds in which a server must answer, or send something more
_AGENT = {"User-Agent": f"schnetgeo/{__version__}"}  # some hosts refuse the one of libraries


class File(NamedTuple):
    """A published file; `checksum` is "sha256:…" or "md5:…" where one is known."""

    name: str
    url: str
    mirrors: tuple[str, ...] = ()
    size: int | None = None  # bytes
    checksum: str | None = None


class Source(NamedTuple):
    """A data set as its authors published it; the keys of `files` are molecules or parts."""

    name: str
    files: dict[str, File]
    license: str
    citation: str
    doi: str
    url: str  # a page about it


def fetch(
    file: File,
    folder: str | os.PathLike,
    copy: str | os.PathLike | None = None,
    timeout: float = TIMEOUT,
) -> Path:
    """The local copy of a published file, downloaded or copied unless it is there already.

    A new file appears under its name when it is whole and has its published size and checksum,
    never before. `checksums.json` beside it records what came; a file that differs from its record
    is refused from then on, also where its authors publish no checksum. Of several processes one
    downloads and the others wait.

    Args:
        file: what to fetch; its url and mirrors are tried in order.
        folder: where to keep it.
        copy: a copy that was brought here in another way, for machines without a network.
        timeout: seconds in which a server must answer, or send something more.

    Raises:
        InputError: says of each address why it failed, what is wrong with the file at hand, or why
            the folder cannot be written.
    """
    path = Path(folder) / file.name
    with folder_lock(folder):
        if copy is not None:
            _copy(file, Path(copy), path)
        elif not path.exists():
            _download(file, path, timeout)
        _verify(file, path)
    return path


@contextlib.contextmanager
def folder_lock(folder: str | os.PathLike) -> Iterator[None]:
    """Hold the folder against other processes; make it where it is not there.

    If the block fails and leaves nothing in a folder that was made for it, the folder goes again.
    """
    folder = Path(folder)
    lock, new = FileLock(folder / ".lock"), [f for f in (folder, *folder.parents) if not f.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        while not folder.exists():  # removed by the process before, which failed
            lock.release()
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
    except OSError as error:
        if not os.access(folder, os.R_OK | os.X_OK):
            raise write_error(folder, error) from None
        yield  # a folder that others filled, and that only they may write
        return
    try:
        yield
    except BaseException:
        if new and os.listdir(folder) == [".lock"]:
            with contextlib.suppress(OSError):  # Windows keeps what is open
                os.remove(lock.lock_file)
                for empty in new:
                    empty.rmdir()
        raise
    finally:
        lock.release()


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Checksum of a file, as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


class _Unusable(InputError):
    """Not the published file, or none at all; another address may be better."""


def _download(file: File, path: Path, timeout: float) -> None:
    reasons = []
    for url in (file.url, *file.mirrors):
        try:
            with atomic_path(path) as part:
                _get(url, part, timeout)
                _check_published(file, part, "what it sent")
            return
        except _Unusable as error:
            reasons.append(f"{url} ({error})")
    raise InputError(
        f"{file.name}: cannot be downloaded from {'; nor from '.join(reasons)}; fetch it elsewhere "
        f"and put it into {path.parent}, or name it with file= or --data"
    )


def _get(url: str, part: Path, timeout: float) -> None:
    get = pooch.HTTPDownloader(True, chunk_size=2**18, timeout=timeout, headers=_AGENT)
    try:
        get(url, str(part), None)
    except Exception as error:  # whatever the network can do
        if isinstance(error, OSError) and error.errno:  # those of the network have no number
            raise
        raise _Unusable(_reason(error)) from None


def _reason(error: Exception) -> str:
    """The innermost of what the libraries of the network say, without the address."""
    text = " ".join(str(error).split()).split(" for url")[0] or type(error).__name__
    if text.startswith("('"):  # a text and the error that it is about
        text = text.split("', ")[0]
    if "(" in text:  # one error in another
        text = text.rpartition(": ")[2]
    return re.sub(r"""['"]\)+$""", "", text)[:100]


def _copy(file: File, origin: Path, path: Path) -> None:
    """Put a copy of `origin` at `path` if it is the published file; else leave `path` alone."""
    if not origin.is_file():
        raise InputError(f"{origin}: no such file; it was to be {file.name}")
    _check_published(file, origin, str(origin))
    with atomic_path(path) as part:
        shutil.copyfile(origin, part)
    records = _read_records(path.parent)
    if records.pop(path.name, None) is not None:
        _record(path.parent, records)


def _verify(file: File, path: Path) -> None:
    """Refuse a file that is not the published one, or no longer the one that was recorded."""
    records = _read_records(path.parent)
    known, stat = records.get(path.name), path.stat()
    stamp = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    if known is not None and stamp.items() <= known.items():
        return
    _check_published(file, path, str(path))
    sha256 = digest(path)
    if known is not None and sha256 != known["sha256"]:
        raise InputError(
            f"{path}: has changed since it was downloaded: its SHA-256 is {sha256}, in {CHECKSUMS} "
            f"it is {known['sha256']}; delete it to download it again, and {CHECKSUMS} too if its "
            "authors have published another"
        )
    with contextlib.suppress(InputError):  # a read-only folder can be read all the same
        _record(path.parent, records | {path.name: {"sha256": sha256, **stamp}})


def _check_published(file: File, path: Path, name: str) -> None:
    """Raise `InputError` unless size and checksum are those that are published."""
    size = path.stat().st_size
    if file.size not in (None, size):
        raise _Unusable(
            f"{name} has {size} bytes, but {file.name} has {file.size}; get a fresh copy"
        )
    if file.checksum is None:
        return
    algorithm, _, expected = file.checksum.partition(":")
    actual = digest(path, algorithm)
    if actual != expected:
        raise _Unusable(
            f"{name} has the {algorithm} checksum {actual}, but {file.name} has {expected}: it is "
            "damaged, or another file; get a fresh copy"
        )


def _read_records(folder: Path) -> dict[str, dict]:
    try:
        return json.loads((folder / CHECKSUMS).read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise InputError(f"{folder / CHECKSUMS}: cannot be read ({error}); delete it") from None


def _record(folder: Path, records: dict[str, dict]) -> None:
    text = json.dumps(records, indent=2, sort_keys=True) + "\n"
    atomic_write(folder / CHECKSUMS, text.encode())
