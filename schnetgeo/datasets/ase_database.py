"""Rows of an ASE database in SQLite, straight from its columns.

`ase.db` builds several objects for each row, about 0.7 ms; the 400,000 rows of ISO17 are read here
in under a minute.
"""

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase.db.core import bytes_to_object
from ase.io import jsonio

from schnetgeo.errors import InputError

_COLUMNS = "id, numbers, positions, cell, pbc, key_value_pairs, data"


class Row(NamedTuple):
    """One structure and what was stored with it under names of its author's choice."""

    id: int  # counted from 1
    numbers: np.ndarray  # (N,) int32
    positions: np.ndarray  # (N, 3) float64
    cell: np.ndarray  # (3, 3)
    pbc: np.ndarray  # (3,) bool
    key_value_pairs: dict  # numbers and strings
    data: dict  # anything, arrays as arrays or as nested lists

    def get(self, key: str):
        """A key-value pair or an entry of the data; `None` if there is neither."""
        return self.key_value_pairs.get(key, self.data.get(key))


def rows(path: str | os.PathLike) -> Iterator[Row]:
    """All structures in the order of their ids.

    Raises:
        InputError: for a file that is no ASE database, or not a whole one.
    """
    with _open(path) as database:
        for id_, numbers, positions, cell, pbc, pairs, data in database.execute(
            f"SELECT {_COLUMNS} FROM systems ORDER BY id"
        ):
            try:
                row = Row(
                    id_,
                    np.frombuffer(numbers, np.int32),
                    np.frombuffer(positions).reshape(-1, 3),
                    np.frombuffer(cell).reshape(3, 3) if cell else np.zeros((3, 3)),
                    np.array([bool(pbc & bit) for bit in (1, 2, 4)]),
                    dict(json.loads(pairs)) if pairs else {},
                    dict(_decoded(data)),
                )
            except Exception as error:  # a column of another type fails in a way of its own
                raise InputError(
                    f"{path}, row {id_}: is none of ASE's ({type(error).__name__}: {error}); get a "
                    "fresh copy"
                ) from None
            yield row


def metadata(path: str | os.PathLike) -> dict:
    """What was stored about the database as a whole, such as SchNetPack's units.

    Raises:
        InputError: for a file that is no ASE database, or not a whole one.
    """
    with _open(path) as database:
        values = database.execute("SELECT value FROM information WHERE name='metadata'").fetchall()
    about = json.loads(values[0][0]) if values else {}
    if not isinstance(about, dict):
        raise InputError(f"{path}: its metadata are no dictionary; get a fresh copy")
    return about


@contextlib.contextmanager
def _open(path: str | os.PathLike) -> Iterator[sqlite3.Connection]:
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file")
    try:
        with contextlib.closing(sqlite3.connect(_address(path), uri=True)) as database:
            _check_tables(database, path)
            yield database
    except (sqlite3.Error, json.JSONDecodeError, RecursionError) as error:
        raise InputError(
            f"{path}: not an ASE database, or not a whole one ({error}); get a fresh copy"
        ) from None


def _check_tables(database: sqlite3.Connection, path: str | os.PathLike) -> None:
    """Refuse what computes its rows, such as a view without an end; a table is in the file."""
    database.execute("PRAGMA trusted_schema = OFF")
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, max(os.path.getsize(path), 2**20))
    entries = database.execute("SELECT name, type, sql FROM sqlite_master").fetchall()
    for name, kind, sql in entries:
        computed = kind == "view" or (kind == "table" and "VIRTUAL" in (sql or "").upper()[:20])
        if kind == "table" and not computed:
            columns = database.execute("SELECT hidden FROM pragma_table_xinfo(?)", (name,))
            computed = any(hidden for (hidden,) in columns)
        if computed:
            raise InputError(
                f"{path}: {name!r:.60} is computed by the database and not a table of rows, as ASE "
                "writes it; do not trust this file, get it from its authors"
            )


def _address(path: str | os.PathLike) -> str:
    """Read only: neither a file nor a journal is made."""
    return Path(path).resolve().as_uri() + "?mode=ro"


def _decoded(data: bytes | str | None) -> dict:
    if isinstance(data, bytes):
        return bytes_to_object(data) or {}
    if not data:
        return {}
    # ASE's own decoder is slow, and needed only for the arrays that it marks so
    return jsonio.decode(data) if '"__' in data else json.loads(data)
