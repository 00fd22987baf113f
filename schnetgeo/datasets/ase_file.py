"""Files whose structures come as ASE atoms: extended XYZ, databases, and what `ase.io` reads."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import ase.db
import ase.io
import numpy as np
from ase import Atoms
from ase.io.formats import UnknownFileTypeError

from schnetgeo.data.atoms import Reading, read_atoms
from schnetgeo.data.file_units import FileUnits
from schnetgeo.data.labels import Keys, check_keys, suggestion
from schnetgeo.data.merge import Remarks
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.stated_units import ASE, UNIT_NAMES, Units, stated_in
from schnetgeo.data.structure import LABELS, Structure
from schnetgeo.data.validate import validate
from schnetgeo.datasets.extxyz import read_extxyz
from schnetgeo.errors import InputError
from schnetgeo.notes import note

_BLOCK = 4096  # structures that are read at once


def read_ase(
    path: Path,
    format: str | None,
    keys: Keys,
    units: Units,
    drop: tuple[str, ...],
    remarks: Remarks,
    used: set[str],
) -> Iterator[StructureDataset]:
    """The structures of one file in eV and Å, some thousands at a time.

    Args:
        path: the file.
        format: "extxyz", "db", "json" or one of ASE's; `None` leaves it to ASE.
        keys: names of the labels.
        units: given by the user; what the file states comes first, else they are ASE's.
        drop: entries to leave out.
        remarks: is told what was left out or filled in.
        used: is told the kinds of units that were applied.

    Raises:
        InputError: names the file, the structure, and what is wrong there.
    """
    reader = _Reader(path.name, keys, units, drop, remarks)
    frames = enumerate(_frames(path, format, keys, drop))
    while block := [reader.read(*frame) for frame in itertools.islice(frames, _BLOCK)]:
        yield reader.pack(block)
    reader.finish()
    used.update(*(units.used for units in reader.units.values()))


class _Reader:
    """Reads the structures of one file and remembers what it saw of all of them."""

    def __init__(
        self, name: str, keys: Keys, units: Units, drop: tuple[str, ...], remarks: Remarks
    ):
        self.name, self.keys, self.drop, self.remarks = name, keys, drop, remarks
        self.user_units = units
        self.units: dict[tuple, FileUnits] = {}  # by what the frames state
        self.reviewed: set[tuple[Units, frozenset[str]]] = set()
        self.count = 0
        self.names: set[str] = set()
        self.fields: set[str] = set()

    def read(self, index: int, atoms: Atoms) -> Structure:
        where = f"{self.name}, structure {index}"
        units = self._units(atoms, where)
        try:
            reading = read_atoms(atoms, self.drop, self.keys)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        self.remarks.left_out.update(reading.left_out)
        self.names.update(reading.names)
        self.fields.update(reading.structure.keys())
        _convert(reading, units)
        return reading.structure

    def pack(self, block: list[Structure]) -> StructureDataset:
        first, self.count = self.count, self.count + len(block)
        try:
            dataset = StructureDataset.from_list(block, self.name, self.remarks)
        except InputError:
            for index, structure in enumerate(block, first):
                self._validate(index, structure)
            raise
        for units in self.units.values():
            state = units.stated, frozenset(units.used)
            if state not in self.reviewed:
                self.reviewed.add(state)
                units.review(dataset)
        return dataset

    def _validate(self, index: int, structure: Structure) -> None:
        try:
            validate(structure, self.name)
        except InputError as error:
            text = str(error).replace(f"{self.name}, structure 0", self.name, 1)
            raise InputError(
                text.replace(self.name, f"{self.name}, structure {index}", 1)
            ) from None

    def finish(self) -> None:
        if not self.count:
            raise InputError(f"{self.name}: holds no structures; check that it is the right file")
        try:
            check_keys(self.keys, self.fields, self.names)
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from None
        advice = [suggestion(label, self.names - self.fields_of_labels) for label in LABELS[:2]
                  if label not in self.fields]  # fmt: skip
        for text in filter(None, advice):
            note(f"{self.name}: has no {text.partition('_')[0]}; if an entry is it, pass {text}")

    @property
    def fields_of_labels(self) -> set[str]:
        return {*LABELS, *self.drop} & self.fields

    def _units(self, atoms: Atoms, where: str) -> FileUnits:
        texts = {k: atoms.info.pop(k) for k in list(atoms.info) if str(k).lower() in UNIT_NAMES}
        key = tuple(sorted((name, str(text)) for name, text in texts.items()))
        if key not in self.units:
            stated = stated_in(where, texts) if texts else Units()
            self.units[key] = FileUnits(self.name, stated, self.user_units, ASE)
        return self.units[key]


def _convert(reading: Reading, units: FileUnits) -> None:
    """Bring labels and geometry to eV and Å, in place."""
    data, length = reading.structure, units.factor("length")
    if length != 1.0:
        data.pos *= length
        data.cell *= length
    for name in ("energy", "free_energy"):
        if name in data:
            data[name] *= units.factor("energy")
    if "forces" in data:
        data.forces *= units.factor("force")
    if "stress" in data and reading.from_virial:
        data.stress *= units.factor("energy") / length**3
    elif "stress" in data:
        data.stress *= units.factor("stress")


def _frames(path: Path, format: str | None, keys: Keys, drop: tuple[str, ...]) -> Iterator[Atoms]:
    if format == "extxyz":
        frames = read_extxyz(path)
    elif format in ("db", "json"):
        frames = _rows(path, format, keys, drop)
    else:
        frames = _images(path, format)
    for index in itertools.count():
        try:
            atoms = next(frames, None)
        except InputError:
            raise
        except Exception as error:  # each reader fails in its own way
            raise _unreadable(path, format, index, error) from None
        if atoms is None:
            return
        yield atoms


def _images(path: Path, format: str | None) -> Iterator[Atoms]:
    # with an index at its end ASE takes the rest as the name, whatever @ there is in it
    yield from ase.io.iread(f"{path}@:", format=format)


def _unreadable(path: Path, format: str | None, index: int, error: Exception) -> InputError:
    if isinstance(error, UnknownFileTypeError):
        return InputError(
            f"{path}: its ending and its content are those of no file that is known; name its "
            "format, as in format='extxyz'"
        )
    if isinstance(error, ModuleNotFoundError) and "ase_db_backends" in str(error):
        return InputError(
            f"{path}: databases of this kind need a package of their own: pip install "
            "ase-db-backends, or write the structures to a .db"
        )
    reason = f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
    return InputError(
        f"{path}, structure {index}: cannot be read as {format or 'what its name says'} "
        f"({reason}); check that the file is whole, or name its format, as in format='extxyz'"
    )


def _rows(path: Path, format: str, keys: Keys, drop: tuple[str, ...]) -> Iterator[Atoms]:
    """Atoms of a database with all that their rows hold: `ase.io.read` forgets names and data."""
    for row in ase.db.connect(path, type=format, use_lock_file=False).select():
        atoms = row.toatoms()
        atoms.info = {}
        for name in row.data:
            if name in LABELS and name not in keys and name not in drop:
                raise InputError(
                    f"{path.name}, structure {row.id - 1}: its data has {name!r} in a unit that "
                    f"the row does not state; name it as in {name}_key={name!r}, or pass "
                    f"drop=({name!r},)"
                )
        values = {**row.key_value_pairs, **row.data}
        for label in keys.further:
            label.per(_shape(values.get(label.key)), len(atoms))  # which a row does not say
        for name, value in values.items():
            if not isinstance(value, str) and np.size(value) == 1:
                atoms.info[name] = np.reshape(value, ()).item()
            elif name not in atoms.arrays and _is_per_atom(value, len(atoms)):
                atoms.arrays[name] = np.array(value)
            else:
                atoms.info[name] = value
        yield atoms


def _is_per_atom(value, size: int) -> bool:
    return not isinstance(value, str) and _shape(value)[:1] == (size,)


def _shape(value) -> tuple[int, ...]:
    try:
        return np.shape(value)
    except ValueError:  # lists of different lengths
        return ()
