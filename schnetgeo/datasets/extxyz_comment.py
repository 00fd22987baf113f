"""The comment line of an extended XYZ frame: keys with values, or free words."""

import json
import re
from typing import Any, NamedTuple

import numpy as np

from schnetgeo.errors import InputError

# The time of each pattern grows as the length of the line: neighbors that repeat share no letter,
# and an opening bracket looks for its end no further than the next =.
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_ENTRY = re.compile(
    rf"""\s*(?:
      (?P<key>{_QUOTED}|[^\s=,"'{{}}\[\]]+)\s*=
      (?:\s+(?![^\s="]+\s*=))?            # but an empty value does not take the next key
      (?P<value>{_QUOTED}|'[^']*'|\{{[^{{}}]*\}}|\[[^=]*?\](?=\s|,|$)|\S*)
    | (?P<word>{_QUOTED}|\S+))""",
    re.VERBOSE,
)
_LONGEST = 200_000  # characters of a comment
_ESCAPE = re.compile(r'\\(["\\])')
_BOOL = {"T": True, "True": True, "TRUE": True, "true": True,
         "F": False, "False": False, "FALSE": False, "false": False}  # fmt: skip
_INT = re.compile(r"[+-]?(0|[1-9]\d{0,17})")
_FLOAT = re.compile(r"[+-]?((\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|nan|inf|infinity)", re.IGNORECASE)
_LEADING_ZERO = re.compile(r"[+-]?0\d+")  # of a name such as 007, which is no number
_CELL = re.compile(
    r"CELL\(|\b(cell|lattice|box)\b[^\d-]{0,12}(-?\d{1,30}(\.\d{0,30})?[\s,;]{1,30}){2}-?\d",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(r"[\s,\[\]{}()]+")
_ONES = {"1": True, "0": False}  # which pbc may be written with too


class Cell(NamedTuple):
    """Lattice vectors in rows, in the file's unit, and which of them are periodic."""

    vectors: np.ndarray | None
    pbc: list[bool]


class Comment(NamedTuple):
    """What a comment line says; entries are text as it is in the file, or decoded JSON."""

    cell: Cell | None
    properties: str | None
    entries: dict[str, Any]


class Raw(str):
    """A value as the file has it, of a type still to be chosen."""


def parse_comment(line: str, where: str) -> Comment:
    """Keys and values; words that are no such pairs become the entry "comment".

    Where the line has `Properties` or `Lattice`, a word of its own is a flag, as in ASE.

    Raises:
        InputError: for a lattice or pbc that is none, and for a cell in free words.
    """
    if len(line) > _LONGEST:
        raise InputError(
            f"{where}: its comment has {len(line):,} characters, more than {_LONGEST:,}; write "
            "arrays as columns of the atoms"
        )
    entries, words = {}, []
    for match in _ENTRY.finditer(line.rstrip()):
        if match["key"] is None:
            words.append(_unquoted(match["word"]))
        else:
            entries[_unquoted(match["key"])] = _value(match["value"])
    lattice, pbc = _taken(entries, "lattice"), _taken(entries, "pbc")
    properties = _taken(entries, "properties")
    if lattice is None and properties is None and pbc is None and words:
        words = [" ".join(words)] if entries else [line]
        if _CELL.search(words[0]):
            raise InputError(
                f"{where}: its comment {line[:60]!r} seems to hold a cell, which is not read from "
                'free words; write it as Lattice="ax ay az bx by bz cx cy cz"'
            )
        entries["comment"] = Raw(words[0])
    else:
        entries |= {word: Raw("T") for word in words if word not in entries}
    return Comment(_cell(lattice, pbc, where), properties, entries)


def _taken(entries: dict[str, Any], name: str) -> Any:
    """Remove the entry of this name, in small letters or capitals."""
    key = next((key for key in entries if key.lower() == name), None)
    return None if key is None else entries.pop(key)


def _value(text: str) -> Any:
    bare = text[:1] not in ('"', "'", "{", "[")
    value = text.rstrip(",") if bare else _unquoted(text)
    if not value.startswith("_JSON "):
        return Raw(value)
    try:
        return json.loads(value.removeprefix("_JSON "))
    except (ValueError, RecursionError):
        return Raw(value)


def _unquoted(text: str) -> str:
    if len(text) < 2 or (text[0], text[-1]) not in (('"', '"'), ("'", "'"), ("{", "}"), ("[", "]")):
        return text
    return _ESCAPE.sub(r"\1", text[1:-1]) if text[0] == '"' else text[1:-1]


def _cell(lattice: str | None, pbc: str | None, where: str) -> Cell | None:
    if lattice is None and pbc is None:
        return None
    vectors = None
    if lattice is not None:
        words = _SEPARATOR.sub(" ", str(lattice)).split()
        if len(words) != 9 or not all(_FLOAT.fullmatch(word) for word in words):
            raise InputError(
                f"{where}: Lattice={str(lattice)[:80]!r} must hold nine numbers, three a vector"
            )
        vectors = np.array(words, dtype=float).reshape(3, 3)
    if pbc is None:
        return Cell(vectors, [True] * 3)
    flags = [(_BOOL | _ONES).get(word) for word in _SEPARATOR.sub(" ", str(pbc)).split()]
    if len(flags) not in (1, 3) or None in flags:
        raise InputError(
            f'{where}: pbc={str(pbc)[:80]!r} must be three of T and F, such as "T T F"'
        )
    return Cell(vectors, flags * 3 if len(flags) == 1 else flags)


class Columns:
    """The type of each key over all frames of a file."""

    def __init__(self):
        self._kinds: dict[str, set[str]] = {}

    def add(self, comment: Comment) -> None:
        """Look at the values of one more frame."""
        for key, value in comment.entries.items():
            self._kinds.setdefault(key, set()).add(_kind(value))

    def typed(self, entries: dict[str, Any]) -> dict[str, Any]:
        """The values of a frame in the types of their keys."""
        return {key: _typed(value, self._kinds[key]) for key, value in entries.items()}


def _kind(value: Any) -> str:
    if not isinstance(value, Raw):
        return "text" if isinstance(value, str) else "object"
    if value in _BOOL:
        return "bool"
    if _LEADING_ZERO.fullmatch(value):
        return "text"
    if _INT.fullmatch(value):
        return "int"
    if _FLOAT.fullmatch(value) and not (value.lstrip("+-").isdecimal() and len(value) > 18):
        return "float"
    words = _SEPARATOR.sub(" ", value).split()
    numbers = len(words) > 1 and all(_FLOAT.fullmatch(word) for word in words)
    return "array" if numbers else "text"


def _typed(value: Any, kinds: set[str]) -> Any:
    if not isinstance(value, Raw):
        return np.array(value) if isinstance(value, list) and _is_array(value) else value
    if kinds == {"bool"}:
        return _BOOL[value]
    if kinds == {"int"}:
        return int(value)
    if kinds <= {"int", "float"}:
        return float(value)
    if kinds <= {"int", "float", "array"}:
        return np.array(_SEPARATOR.sub(" ", value).split(), dtype=float)
    return str(value)


def _is_array(value: list) -> bool:
    try:
        return np.array(value).dtype.kind in "bif"
    except ValueError:
        return False
