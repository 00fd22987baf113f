"""A file that is written piece by piece, and goes on where it was when its process was killed."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schnetgeo.errors import InputError
from schnetgeo.files import atomic_write, file_lock, write_error


class ResumableFile:
    """Pieces appended to PATH.part, with their number and length in PATH.part.json beside it.

    The length is written, atomically, after the piece has reached the disk. What lies beyond it
    when the file is opened again is of a piece that was not whole, and is cut off: so no piece is
    there twice, and none is missing. `finish` gives the file its name.

    Args:
        path: of the whole file.
        job: what stands for everything that the pieces depend on, compared before going on.
    """

    def __init__(self, path: Path, job: dict):
        self.path, self.job = path, job
        self._part = path.parent / f"{path.name}.part"
        self._state = path.parent / f"{path.name}.part.json"
        self.pieces, self._length = 0, 0

    @classmethod
    @contextmanager
    def open(cls, path: Path, job: dict, overwrite: bool = False) -> Iterator["ResumableFile"]:
        """The file, which nobody else writes within the block; it is whole if that ends well.

        Raises:
            InputError: where the file is there already, was begun for another job, or cannot be
                written.
        """
        with file_lock(path):
            if path.exists() and not overwrite:
                raise InputError(f"{path}: exists already; pass --overwrite or name another file")
            file = cls(path, job)
            try:
                file._begin(overwrite)
                yield file
                file._finish()
            except OSError as error:
                raise write_error(path, error) from None

    def append(self, text: str) -> None:
        """Write one piece."""
        content = text.encode()
        with self._part.open("r+b") as stream:
            stream.seek(self._length)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        self.pieces += 1
        self._length += len(content)
        self._remember()

    def _begin(self, overwrite: bool) -> None:
        if self._state.exists() and not overwrite:
            self._go_on()
        else:
            self._part.write_bytes(b"")
            self._remember()

    def _go_on(self) -> None:
        try:
            state = json.loads(self._state.read_text())
            pieces, length, job = state["pieces"], state["length"], state["job"]
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{self._state}: is not what was written here; pass --overwrite to begin anew"
            ) from None
        changed = [name for name in self.job if job.get(name) != self.job[name]]
        if changed:
            raise InputError(
                f"{self._part}: was begun with other {', '.join(changed)}; pass --overwrite to "
                "begin anew, or name another file"
            )
        if not self._part.exists() or self._part.stat().st_size < length:
            raise InputError(f"{self._part}: is shorter than was written; pass --overwrite")
        os.truncate(self._part, length)
        self.pieces, self._length = pieces, length

    def _remember(self) -> None:
        state = {"pieces": self.pieces, "length": self._length, "job": self.job}
        atomic_write(self._state, json.dumps(state).encode())

    def _finish(self) -> None:
        os.replace(self._part, self.path)
        self._state.unlink()
