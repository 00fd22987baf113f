"""Members of published archives, taken out by name and never written where an archive says."""

import contextlib
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from schnetgeo.datasets.source import folder_lock
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_path

_BROKEN = (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, zlib.error)


class Member(NamedTuple):
    """A file in an archive; its content can be read until the next member is asked for."""

    archive: str | os.PathLike
    name: str
    content: BinaryIO

    def read(self, size: int = -1) -> bytes:
        """Bytes of the content; an `InputError` where the archive ends before them."""
        with _reading(self.archive):
            return self.content.read(size)


def members(path: str | os.PathLike) -> Iterator[Member]:
    """The files of a .tar, .tar.gz, .tar.bz2 or .zip, in one pass over it.

    Raises:
        InputError: for an archive that is not whole, or that holds a path which leads out of it.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file")
    matches = _zip_members(path) if zipfile.is_zipfile(path) else _tar_members(path)
    while True:
        with _reading(path):
            member = next(matches, None)
        if member is None:
            return
        _check_name(path, member.name)
        yield member


def extract(path: str | os.PathLike, names: Sequence[str], folder: str | os.PathLike) -> list[Path]:
    """Files of an archive under their last names in `folder`; those that are there stay.

    Args:
        path: .tar, .tar.gz, .tar.bz2 or .zip.
        names: paths in the archive, such as "rmd17/splits/index_train_01.csv".
        folder: where to put them.

    Raises:
        InputError: for an archive that lacks one of them, is not whole, or holds a path that leads
            out of it; what was unpacked before that is whole.
    """
    targets = {name: Path(folder) / PurePosixPath(name).name for name in names}
    with folder_lock(folder):
        absent = {name for name, target in targets.items() if not target.exists()}
        for member in members(path) if absent else ():
            name = str(PurePosixPath(member.name))  # tar likes to write ./name
            if name in absent:
                with atomic_path(targets[name]) as part, part.open("wb") as stream:
                    shutil.copyfileobj(member, stream, 2**20)
                absent.remove(name)
            if not absent:
                break
    if absent:
        raise InputError(
            f"{path}: has no member {min(absent)!r}; it is another archive, or another version"
        )
    return list(targets.values())


@contextlib.contextmanager
def unpacked(path: str | os.PathLike, names: Sequence[str]) -> Iterator[list[Path]]:
    """Files of an archive as `extract` gives them, for the time of the block; in `TMPDIR`."""
    with tempfile.TemporaryDirectory() as folder:
        yield extract(path, names, folder)


@contextlib.contextmanager
def _reading(path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise InputError(
            f"{path}: not an archive, or not a whole one ({error}); delete it and get a fresh copy"
        ) from None


def _tar_members(path) -> Iterator[Member]:
    with tarfile.open(path) as archive:
        while (entry := archive.next()) is not None:
            archive.members.clear()  # or a list of all of them stays in memory
            if entry.isfile():
                yield Member(path, entry.name, archive.extractfile(entry))


def _zip_members(path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if not entry.is_dir():
                with archive.open(entry) as content:
                    yield Member(path, entry.filename, content)


def _check_name(path, name: str) -> None:
    absolute = name.startswith(("/", "\\")) or name[1:2] == ":"
    if absolute or (".." in name and ".." in re.split(r"[/\\]", name)):
        raise InputError(
            f"{path}: holds {name!r}, a path that leads out of its folder; do not trust this "
            "archive, get it from its authors"
        )
