"""XYZ and extended XYZ: every frame of a file, its columns typed over all frames."""

import itertools
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
from ase import Atoms
from ase.calculators.calculator import all_properties
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.data import atomic_numbers
from ase.io.formats import open_with_compression

from schnetgeo.datasets.extxyz_comment import Cell, Columns, Comment, parse_comment
from schnetgeo.errors import InputError

_PLAIN = "species:S:1:pos:R:3"
_NAMES = {  # of columns, in small letters, and what ASE calls them
    "species": "symbols", "symbols": "symbols", "element": "symbols", "pos": "positions",
    "positions": "positions", "z": "numbers", "numbers": "numbers", "charge": "charges",
}  # fmt: skip
_TYPES = {"R": float, "I": int, "L": bool, "S": str}
_TRUE = {"T": True, "True": True, "TRUE": True, "true": True, "1": True,
         "F": False, "False": False, "FALSE": False, "false": False, "0": False}  # fmt: skip
_SHORTEST_LINE = 8  # bytes of an atom: a letter, three digits, spaces, the end


class _Frame(NamedTuple):
    """The lines of one structure, as they are in the file."""

    where: str  # file, structure and line, for messages
    comment: str
    atoms: list[str]


class _Column(NamedTuple):
    name: str
    type: str
    width: int


def read_extxyz(path: Path) -> Iterator[Atoms]:
    """All structures of an XYZ file, extended or plain.

    Empty lines between frames are skipped. Keys such as `Lattice` and `Properties` may be in small
    letters. A key has one type over the whole file, text where any of its values is text. Words of
    a plain file's second line become the entry "comment" of `atoms.info`, columns without a name
    the array "columns".

    Raises:
        InputError: names the file, the structure, the line, and what is wrong there.
    """
    columns = Columns()
    for frame in _frames(path):
        columns.add(parse_comment(frame.comment, frame.where))
    for frame in _frames(path):
        yield _atoms(frame, parse_comment(frame.comment, frame.where), columns)


def looks_like_xyz(path: Path) -> bool:
    """Whether a file begins with a count, a comment, and a line of an atom."""
    try:
        with path.open(encoding="utf-8") as file:
            lines = [file.readline(1000) for _ in range(3)]
    except (OSError, UnicodeDecodeError):
        return False
    if not lines[0].strip().isdecimal():
        return False
    words = lines[2].split()
    return len(words) >= 4 and "=" not in lines[2]


def _frames(path: Path) -> Iterator[_Frame]:
    try:
        with open_with_compression(str(path), "r") as file:
            yield from _read_frames(file, path)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{path.name}: cannot be read ({error}); get a fresh copy") from None


def _read_frames(file: TextIO, path: Path) -> Iterator[_Frame]:
    number, index = 0, 0
    most = max(1, path.stat().st_size * 1000 // _SHORTEST_LINE)  # compressed at most 1,000 times
    for line in file:
        number += 1
        if not line.strip():
            continue
        where = f"{path.name}, structure {index} (line {number})"
        if index == 1 and comment.startswith("gdb ") and not line.strip().isdecimal():
            raise InputError(
                f"{path.name}: is one of the small files of QM9; QM9(file=) reads the archive of "
                "all, dsgdb9nsd.xyz.tar.bz2"
            )
        count = _count(line, where, most)
        comment = next(file, None)
        atoms = list(itertools.islice(file, count))
        if comment is None or len(atoms) < count:
            raise InputError(
                f"{where}: the file ends after {len(atoms)} of {count} atoms; get the whole file, "
                "or remove the last structure"
            )
        yield _Frame(where, comment.strip(), atoms)
        number += 1 + count
        index += 1


def _count(line: str, where: str, most: int) -> int:
    text = line.strip()
    if not text.isdecimal() or len(text) > 20 or not 0 < int(text) <= most:
        raise InputError(
            f"{where}: expected the number of atoms of the next structure, got {text[:50]!r}; an "
            "XYZ file has that number, a comment line and a line for each atom, again and again"
        )
    return int(text)


def _atoms(frame: _Frame, comment: Comment, columns: Columns) -> Atoms:
    layout = _layout(comment.properties or _PLAIN, frame.where)
    arrays = _arrays(frame, layout, named=comment.properties is not None)
    cell = comment.cell or Cell(None, [False] * 3)
    numbers = _numbers(arrays, frame.where)
    fixed = arrays.pop("move_mask", None)
    atoms = Atoms(numbers, arrays.pop("positions"), cell=cell.vectors, pbc=cell.pbc)
    info = columns.typed(comment.entries)
    results = {
        name: value
        for name, value in {**info, **arrays}.items()
        if name in all_properties and np.asarray(value).dtype.kind in "if"
    }
    atoms.info = {k: v for k, v in info.items() if k not in results}
    atoms.arrays |= {k: v for k, v in arrays.items() if k not in results}
    if fixed is not None and not fixed.all():
        atoms.set_constraint(FixAtoms(mask=~fixed.reshape(len(atoms), -1).all(1)))
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _layout(properties: str, where: str) -> list[_Column]:
    """The columns that `Properties` names; `InputError` where it is no list of name:type:width."""
    parts = properties.split(":")
    columns = [
        _Column(_NAMES.get(name.lower(), name), kind, _width(width))
        for name, kind, width in zip(parts[::3], parts[1::3], parts[2::3], strict=False)
    ]
    names = [column.name for column in columns]
    whole = len(parts) % 3 == 0 and all(c.type in _TYPES and c.width > 0 for c in columns)
    if not whole or len(set(names)) < len(names):
        raise InputError(
            f"{where}: Properties={properties[:80]!r} must name each column once, as "
            "name:type:number with types R, I, L or S, such as species:S:1:pos:R:3:forces:R:3"
        )
    if "positions" not in names or not {"symbols", "numbers"} & set(names):
        raise InputError(
            f"{where}: Properties={properties[:80]!r} must have species:S:1 (or Z:I:1) and pos:R:3"
        )
    return columns


def _width(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 7 else 0


def _arrays(frame: _Frame, layout: list[_Column], named: bool) -> dict[str, np.ndarray]:
    rows = [line.split() for line in frame.atoms]
    width = sum(column.width for column in layout)
    widths = {len(row) for row in rows}
    if widths != {width}:
        if named or min(widths) < width:
            raise _wrong_width(frame, rows, width)
        rows, more = _unnamed(rows, width)
        layout = [*layout, more]
    arrays, first = {}, 0
    for name, kind, number in layout:
        values = [row[first : first + number] for row in rows]
        arrays[name] = _column(frame, name, kind, values)
        if number == 1:
            arrays[name] = arrays[name].reshape(-1)
        first += number
    return arrays


def _unnamed(rows: list[list[str]], first: int) -> tuple[list[list[str]], _Column]:
    """Columns that no `Properties` names: numbers if all are, else one text for each atom."""
    try:
        width = np.array([row[first:] for row in rows], dtype=float).shape[1]
    except ValueError:
        return [[*row[:first], " ".join(row[first:])] for row in rows], _Column("columns", "S", 1)
    return rows, _Column("columns", "R", width)


def _column(frame: _Frame, name: str, kind: str, values: list[list[str]]) -> np.ndarray:
    try:
        if kind == "L":
            return np.array([[_TRUE[word] for word in row] for row in values])
        return np.array(values, dtype=_TYPES[kind])
    except (ValueError, KeyError, OverflowError):
        pass
    for k, row in enumerate(values):
        for word in row:
            try:
                _TRUE[word] if kind == "L" else np.array([word], dtype=_TYPES[kind])
            except (ValueError, KeyError, OverflowError):
                raise InputError(
                    f"{frame.where}: atom {k} has {word[:30]!r} as {name}, which must be "
                    f"{'T or F' if kind == 'L' else 'a number'}; correct this line"
                ) from None
    raise InputError(f"{frame.where}: the column {name} cannot be read; write it as {kind} numbers")


def _numbers(arrays: dict[str, np.ndarray], where: str) -> np.ndarray:
    """Atomic numbers, from symbols in any case or from numbers in their place."""
    symbols, numbers = arrays.pop("symbols", None), arrays.pop("numbers", None)
    if numbers is not None:
        return numbers
    elements = [atomic_numbers.get(symbol.capitalize()) for symbol in symbols.tolist()]
    if None not in elements:
        return np.array(elements)
    if all(symbol.isdecimal() and len(symbol) < 4 for symbol in symbols.tolist()):
        return symbols.astype(int)
    k = elements.index(None)
    hint = "isotopes are written as H" if symbols[k] in ("D", "T") else "write the element alone"
    raise InputError(
        f"{where}: atom {k} has the symbol {str(symbols[k])[:20]!r}, which is no element; {hint}"
    )


def _wrong_width(frame: _Frame, rows: list[list[str]], width: int) -> InputError:
    k = next(k for k, row in enumerate(rows) if len(row) != width)
    return InputError(
        f"{frame.where}: atom {k} has {len(rows[k])} columns where there must be {width}: "
        f"{frame.atoms[k].strip()[:60]!r}; correct this line, or name all columns in Properties="
    )
