"""Extended XYZ straight from packed arrays, ten times faster than through ASE's atoms."""

from collections.abc import Mapping, Sequence

import numpy as np
from ase.data import chemical_symbols

from schnetgeo.datasets.write import info_text

_KINDS = {"f": "R", "i": "I", "u": "I", "b": "L"}


def format_frames(
    z: np.ndarray,
    pos: np.ndarray,
    sizes: Sequence[int],
    cell: np.ndarray | None,
    pbc: np.ndarray | None,
    per_atom: Mapping[str, np.ndarray],
    per_structure: Mapping[str, Sequence],
) -> str:
    """Frames of B structures with N atoms in all; numbers keep all their digits.

    Args:
        z: (N,) atomic numbers.
        pos: (N, 3) Å.
        sizes: atoms of each structure.
        cell: (B, 3, 3) Å; `None` for molecules.
        pbc: (B, 3) bool, beside `cell`.
        per_atom: further columns (N,) or (N, …).
        per_structure: entries of the comment line: B numbers, texts or arrays.
    """
    columns = [("pos", pos), *per_atom.items()]
    parts = [np.asarray(values).reshape(len(z), -1) for _, values in columns]
    layout = "".join(
        f":{name}:{_KINDS[part.dtype.kind]}:{part.shape[1]}"
        for (name, _), part in zip(columns, parts, strict=True)
    )
    symbols = [chemical_symbols[number] for number in z.tolist()]
    rows = _rows(symbols, parts)
    entries = [(name, _texts(values)) for name, values in per_structure.items()]
    out, first = [], 0
    for k, size in enumerate(sizes):
        words = [_lattice(cell, k), f"Properties=species:S:1{layout}"]
        words += [f"{name}={texts[k]}" for name, texts in entries if texts[k]]
        words.append(f'pbc="{" ".join("T" if p else "F" for p in _periodic(pbc, k))}"')
        out += [str(size), " ".join(filter(None, words)), *rows[first : first + size]]
        first += size
    return "\n".join([*out, ""])


def _rows(symbols: list[str], parts: list[np.ndarray]) -> list[str]:
    """A line for each atom; `repr` of a float is the shortest text that is read as the same."""
    flags = {True: "T", False: "F"}
    texts = [
        [flags[x] for x in column] if part.dtype.kind == "b" else map(repr, column)
        for part in parts
        for column in part.T.tolist()
    ]
    return list(map(" ".join, zip(symbols, *texts, strict=True)))


def _texts(values: Sequence) -> list[str]:
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "fiu":
        return list(map(repr, values.tolist()))
    return [
        _array(value) if isinstance(value, np.ndarray) else info_text(value) for value in values
    ]


def _array(value: np.ndarray) -> str:
    """Numbers of one entry, columns of a matrix after each other; nothing where all are NaN."""
    if np.isnan(value).all():
        return ""
    return f'"{" ".join(map(repr, value.T.ravel().tolist()))}"'


def _periodic(pbc: np.ndarray | None, k: int) -> Sequence[bool]:
    return (False,) * 3 if pbc is None else pbc[k].tolist()


def _lattice(cell: np.ndarray | None, k: int) -> str:
    if cell is None or not cell[k].any():
        return ""
    return f'Lattice="{" ".join(map(repr, cell[k].ravel().tolist()))}"'
