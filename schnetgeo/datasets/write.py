"""Data sets to files that other programs read: extxyz, ASE databases, .npz."""

import functools
import json
import os
import re
import sqlite3
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import ase.db
import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from ase.io.extxyz import key_val_dict_to_str

from schnetgeo.data.atoms import to_ase
from schnetgeo.data.atoms_fields import ARRAYS
from schnetgeo.data.merge import Remarks
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.stated_units import UNIT_NAMES
from schnetgeo.data.store_writer import write_on_disk
from schnetgeo.datasets.array_layout import COUNTS, NUMBERS, POSITIONS
from schnetgeo.datasets.arrays import CELLS, ENERGIES, FORCES
from schnetgeo.datasets.atoms_file import concatenate
from schnetgeo.errors import InputError
from schnetgeo.files import atomic_path, file_lock
from schnetgeo.targets import Target

# letters first, so that no reader takes it for a number, a list or a key
_TEXT = re.compile(
    r"(?!(nan|inf|infinity|_JSON)\b)[a-z_][\w.+()/@#%&*~ -]*\w", re.IGNORECASE | re.ASCII
)
_FLAGS = {"T", "F", "True", "False", "TRUE", "FALSE", "true", "false"}
_NAMES = {"z": "Z", "pos": "R", "energy": "E", "forces": "F"}  # in .npz
_UNITS = {"e_unit": "eV", "f_unit": "eV/Angstrom", "r_unit": "Angstrom",
          "stress_unit": "eV/Angstrom^3"}  # fmt: skip
_DATABASE_ARRAYS = ("numbers", "positions", *ARRAYS)
_SAME = ("cell", "pbc", "stress")
_MEANINGS = {*NUMBERS, *POSITIONS, *COUNTS, *ENERGIES, *FORCES, *CELLS}


def write_dataset(
    path: str | os.PathLike,
    parts: Iterable[StructureDataset],
    append: bool = False,
    remarks: Remarks | None = None,
) -> None:
    """Write structures to one file, or to a store.

    Numbers keep all their digits: float64 comes back as it was, float32 as the same values. The
    file appears when all is written, or not at all; but for .npz one part is in memory at a time.

    Args:
        path: .extxyz or .xyz; .db, an ASE database; .npz, ragged, in eV and Å; or .store, or no
            ending, a folder for `OnDiskDataset`.
        parts: data sets; may be a generator. A store and .npz have the same fields for all
            structures, brought together as `merged` does.
        append: add to a store that is there.
        remarks: is told what a store or .npz fills in or leaves out, instead of a note.

    Raises:
        InputError: if the ending is another, the file exists, cannot be written, or has no place
            for an attribute.
    """
    path = Path(path)
    if path.suffix in ("", ".store"):
        write_on_disk(path, parts, append=append, remarks=remarks)
        return
    npz = functools.partial(_npz, remarks=remarks)
    writers = {".extxyz": _extxyz, ".xyz": _extxyz, ".db": _database, ".npz": npz}
    if path.suffix not in writers:
        raise InputError(
            f"{path}: cannot write {path.suffix}; known: {', '.join(writers)}, and .store or no "
            "ending for a store"
        )
    if append:
        raise InputError(f"{path}: only to a store can structures be appended; write a new file")
    with file_lock(path):
        if path.exists():
            raise InputError(f"{path}: exists already; remove it or choose another name")
        try:
            with atomic_path(path) as part:
                writers[path.suffix](part, parts)
        except sqlite3.Error as error:  # of a full disk too
            raise InputError(f"{path}: cannot be written: {error}; nothing was left") from None


def _frames(parts: Iterable[StructureDataset]) -> Iterator[Atoms]:
    for part in parts:
        for index, structure in enumerate(part):
            try:
                yield _with_units(to_ase(structure), part.labels)
            except InputError as error:
                raise InputError(
                    f"{part.name}, structure {index}: {error}, or drop it (--drop)"
                ) from None


def _with_units(atoms: Atoms, labels: Iterable[Target]) -> Atoms:
    """The same atoms with the units of labels that have no unit of ASE, such as `mu_unit`."""
    for target in labels:
        if target.name in atoms.info or target.name in atoms.arrays:
            atoms.info[f"{target.name}_unit"] = target.unit
    return atoms


def _extxyz(path: Path, parts: Iterable[StructureDataset]) -> None:
    """Like ASE's writer, whose eight decimals lose digits."""
    with path.open("w", encoding="utf-8") as file:
        for atoms in _frames(parts):
            file.write(frame_text(atoms))


def frame_text(atoms: Atoms) -> str:
    """Atoms with their results as one frame of extended XYZ."""
    results = dict(atoms.calc.results) if atoms.calc is not None else {}
    columns = {"pos": atoms.positions}
    for name, values in [*sorted(atoms.arrays.items()), *sorted(results.items())]:
        if name not in ("numbers", "positions") and np.shape(values)[:1] == (len(atoms),):
            columns[name] = values
    info = {k: v for k, v in results.items() if k not in columns and v is not None}
    if "stress" in info:
        info["stress"] = atoms.get_stress(voigt=False)
    kinds = {"f": "R", "i": "I", "b": "L"}
    properties = "".join(
        f":{name}:{kinds[v.dtype.kind]}:{v[0].size}" for name, v in columns.items()
    )
    header = {} if not atoms.cell.any() else {"Lattice": atoms.cell.array.T}
    header |= {"Properties": f"species:S:1{properties}", **info, "pbc": atoms.pbc}
    rows = zip(*(v.reshape(len(atoms), -1).tolist() for v in columns.values()), strict=True)
    lines = [
        " ".join([chemical_symbols[z], *(repr(x) for row in rows_ for x in row)])
        for z, rows_ in zip(atoms.numbers, rows, strict=True)
    ]
    entries = [key_val_dict_to_str(header), *(f"{k}={info_text(v)}" for k, v in atoms.info.items())]
    return "\n".join([str(len(atoms)), " ".join(entries), *lines, ""])


def info_text(value: str | float) -> str:
    """An entry as extended XYZ has it; text that a reader would take for a number is JSON."""
    if not isinstance(value, str):
        return key_val_dict_to_str({"k": value}).removeprefix("k=")
    if _TEXT.fullmatch(value) and not _FLAGS.issuperset(value.split()):
        return f'"{value}"'
    return _quoted(f"_JSON {json.dumps(value)}")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _database(path: Path, parts: Iterable[StructureDataset]) -> None:
    with ase.db.connect(path, type="db", use_lock_file=False) as database:
        for atoms in _frames(parts):
            # ASE has columns for its own arrays alone
            arrays = {k: v for k, v in atoms.arrays.items() if k not in _DATABASE_ARRAYS}
            database.write(atoms, data=atoms.info | arrays)


def _npz(path: Path, parts: Iterable[StructureDataset], remarks: Remarks | None) -> None:
    parts, log = list(parts), Remarks() if remarks is None else remarks
    structures, sizes = concatenate(parts, log)
    if remarks is None:
        log.say(parts[0].name, len(sizes))
    labels = {target.name: target for part in parts for target in part.labels}
    arrays = {"N": sizes.numpy().astype(np.int32)} | {k: np.array(v) for k, v in _UNITS.items()}
    arrays |= {f"{name}_unit": np.array(target.unit) for name, target in labels.items()}
    for key, value in sorted(structures.to_dict().items()):
        if key not in (*_NAMES, *_SAME) and (key in _MEANINGS or key.lower() in UNIT_NAMES):
            raise InputError(
                f"{parts[0].name}: a field is called {key!r}, which means something else in .npz; "
                f"rename it, leave it out (--drop {key}), or write another kind of file"
            )
        array = value.numpy() if torch.is_tensor(value) else np.array(value)
        arrays[_NAMES.get(key, key)] = array.astype(np.uint8) if key == "z" else array
    with zipfile.ZipFile(path, "w") as archive:  # np.savez cannot have arrays called self or file
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)
