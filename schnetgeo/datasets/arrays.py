"""Structures from named arrays, whatever file these came from."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from schnetgeo.data.file_units import FileUnits
from schnetgeo.data.further_labels import LABEL_SHAPES, LabelReader
from schnetgeo.data.labels import Keys, stress_from_virial, stress_matrices
from schnetgeo.data.names import check_name
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.stated_units import UNIT_NAMES
from schnetgeo.data.structure import GRAPH, PER_ATOM, Structure, is_per_atom, mask_name
from schnetgeo.datasets.array_layout import COUNTS, NUMBERS, POSITIONS, layout_of, name_in
from schnetgeo.datasets.label_names import label_in, only_name_in
from schnetgeo.errors import InputError

ENERGIES = ("E", "energy", "energies")
FORCES = ("F", "forces", "force")
CELLS = ("cell", "lattice", "box")
_TYPES = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64}
_TAKEN = {*PER_ATOM, *GRAPH, "energy", "stress", "cell", "pbc", "ptr"}


class ArrayReader:
    """Structures that arrays hold, in eV and Å.

    Args:
        where: name of the file, for messages.
        arrays: by name.
        units: of the file.
        label_units: that it states of arrays with further labels.

    Raises:
        InputError: names the file, the array and what is wrong with it.
    """

    def __init__(
        self,
        where: str,
        arrays: dict[str, np.ndarray],
        units: FileUnits,
        label_units: Mapping[str, str | None],
    ):
        self.where, self.arrays, self.units = where, arrays, units
        self.label_units = label_units
        self.layout = layout_of(where, arrays)
        self.count = len(self.layout.sizes)
        self.left_out: list[str] = []
        """What has no place in a structure."""

    def dataset(self, names: Keys) -> StructureDataset:
        """All structures, with labels of these names and further arrays as attributes."""
        return self.pack(self.structures(names))

    def structures(self, names: Keys) -> Structure:
        """The same in a row, not validated yet."""
        arrays, layout = self.arrays, self.layout
        positions = name_in(arrays, POSITIONS)
        data = Structure(z=layout.z, pos=self._per_atom(positions, (3,)))
        used = {positions, name_in(arrays, NUMBERS), name_in(arrays, COUNTS)}
        used |= self._add_cell(data)
        scale = self.units.length_factor(lambda: self.pack(data.clone()))
        for name in ("pos", "cell") if "cell" in data else ("pos",):
            data[name] = data[name] * scale
        used |= self._add_labels(data, names) | self._add_further_labels(data, names.further)
        for name in arrays:
            if name not in used and name.lower() not in UNIT_NAMES:
                self._add_other(data, name)
        return data

    def pack(self, data: Structure) -> StructureDataset:
        """Validate structures in a row."""
        return StructureDataset(data, torch.from_numpy(self.layout.sizes), name=self.where)

    def _add_cell(self, data: Structure) -> set[str | None]:
        name = only_name_in(self.where, self.arrays, CELLS)
        if name is None:
            return set()
        cell = self._cells(name)
        data.cell = torch.from_numpy(cell)
        periodic = np.tile(cell.any((1, 2))[:, None], (1, 3))
        if "pbc" in self.arrays:
            values = self.arrays["pbc"]
            if values.shape not in ((self.count, 3), (3,)) or values.dtype.kind not in "biu":
                raise InputError(
                    f"{self.where}: pbc must hold true or false in shape ({self.count}, 3) or "
                    f"(3,), got shape {values.shape} and type {values.dtype}"
                )
            periodic = np.broadcast_to(values.astype(bool), (self.count, 3)).copy()
        data.pbc = torch.from_numpy(periodic)
        return {name, "pbc"}

    def _cells(self, name: str) -> np.ndarray:
        """Cells (T, 3, 3), lattice vectors in rows, also of one cell for all, or of lengths."""
        values = _floats(self.arrays[name])
        shape = self.arrays[name].shape
        if values is None or shape not in (
            (self.count, 3, 3), (3, 3), (self.count, 9), (9,), (self.count, 3), (3,),
        ):  # fmt: skip
            raise InputError(
                f"{self.where}: {name} must hold numbers in shape ({self.count}, 3, 3), or (3, 3) "
                f"for all structures, got shape {shape} and type {self.arrays[name].dtype}"
            )
        if shape != (3, 3) and shape[-1] == 3 and len(shape) < 3:  # lengths of three edges
            values = values[..., None] * np.eye(3)
        cells = values.reshape(-1, 3, 3)
        if name != "cell" and not np.allclose(cells, cells.transpose(0, 2, 1)):
            raise InputError(
                f"{self.where}: {name} is not symmetric, and programs differ in whether its rows "
                "or its columns are the lattice vectors; save it as cell, with vectors in rows"
            )
        return np.broadcast_to(cells, (self.count, 3, 3)).copy()

    def _add_labels(self, data: Structure, names: Keys) -> set[str]:
        energy = label_in(self.arrays, names, "energy", ENERGIES, self.where)
        forces = label_in(self.arrays, names, "forces", FORCES, self.where)
        stress = label_in(self.arrays, names, "stress", ("stress",), self.where)
        virial = label_in(self.arrays, names, "virial", (), self.where)
        if energy:
            values = self._rows(energy.name, (self.count,), (self.count, 1)).reshape(self.count)
            data.energy = energy.sign * values.double() * self.units.factor("energy")
        if forces:
            values = self._per_atom(forces.name, (3,))
            data.forces = forces.sign * values * self.units.factor("force")
        if virial:
            values = self._stress_from_virial(data, virial.name)
            data.stress = virial.sign * values * self.units.factor("energy")
        elif stress:
            data.stress = stress.sign * self._matrices(stress.name) * self.units.factor("stress")
        return {label.name for label in (energy, forces, stress, virial) if label}

    def _add_further_labels(self, data: Structure, readers: Sequence[LabelReader]) -> set[str]:
        used = set()
        for reader in readers:
            used |= {reader.key, reader.label.name}
            if reader.key not in self.arrays:
                continue
            values, per = self.arrays[reader.key], self._per(reader)
            rows = self.layout.per_atom(values) if per == "atom" else values
            number = len(data.z) if per == "atom" else self.count
            stated = self.label_units.get(reader.key)
            try:
                label = reader.read(values if rows is None else rows, number, per, stated)
            except InputError as error:
                raise InputError(f"{self.where}: {error}") from None
            data[reader.label.name] = torch.from_numpy(label)
            if mask_name(reader.label.name) not in self.arrays:
                data[mask_name(reader.label.name)] = torch.ones(self.count, dtype=torch.bool)
        return used

    def _per(self, reader: LabelReader) -> Literal["structure", "atom"]:
        """What has a value of a label each: as its target says, or as the shape of the array."""
        if reader.known_per is not None:
            return reader.known_per
        values = self.arrays[reader.key]
        rows = self.layout.per_atom(values)
        of_atoms = rows is not None and rows.shape[1:] in LABEL_SHAPES
        of_structures = values.shape[:1] == (self.count,) and values.shape[1:] in LABEL_SHAPES
        if of_atoms and of_structures:
            raise InputError(
                f"{self.where}: {reader.title} of shape {values.shape} may have a value for each "
                f"atom or each structure; say which as {reader.label.name}/atom or "
                f"{reader.label.name}/structure"
            )
        return "atom" if of_atoms else "structure"

    def _matrices(self, name: str) -> Tensor:
        shapes = [(self.count, *tail) for tail in ((3, 3), (9,), (6,))]
        values = self._rows(name, *shapes)
        return torch.from_numpy(stress_matrices(values.numpy(), self.count, name))

    def _stress_from_virial(self, data: Structure, name: str) -> Tensor:
        cell, pbc = data.get("cell"), data.get("pbc")
        if cell is None:
            cell, pbc = torch.zeros(1, 3, 3), torch.zeros(1, 3, dtype=torch.bool)
        virial = self._matrices(name).numpy()
        try:
            stress = stress_from_virial(virial, cell.double().numpy(), pbc.numpy(), name)
        except InputError as error:
            raise InputError(f"{self.where}: {error}") from None
        return torch.from_numpy(stress)

    def _add_other(self, data: Structure, name: str) -> None:
        """Keep an array with a row for each structure or atom under its own name."""
        values = self.arrays[name]
        if values.ndim == 0 or values.shape == (1,) != (self.count,):
            return  # text and numbers about the file, such as its name and theory
        if name in PER_ATOM and name not in data and self._of_atoms(values):
            data[name] = torch.from_numpy(_plain(self.layout.per_atom(values)))
            return
        if name in _TAKEN or name in data:
            raise InputError(
                f"{self.where}: the array {name!r} has a name that structures use for something "
                f"else, and shape {values.shape}; rename it, or drop it (--drop {name})"
            )
        if not _can_be_field(name):
            self.left_out.append(f"{name!r:.50} (no name for an attribute)")
        elif len(values) != self.count:
            self.left_out.append(f"{name!r} (shape {values.shape}, no row for each structure)")
        elif values.dtype.kind in "USO":
            data[name] = [_text(value) for value in values.tolist()]
        elif (plain := _plain(values)) is None:
            self.left_out.append(f"{name!r} (type {values.dtype})")
        else:
            data[name] = torch.from_numpy(plain)

    def _of_atoms(self, values: np.ndarray) -> bool:
        rows = self.layout.per_atom(values)
        return rows is not None and _plain(rows) is not None

    def _per_atom(self, name: str, tail: tuple[int, ...]) -> Tensor:
        """Rows of all atoms, in float32 where they are, else in float64."""
        self._check(name, (*self.layout.lead, *tail))
        return torch.from_numpy(_floats(self.layout.per_atom(self.arrays[name])))

    def _rows(self, name: str, *shapes: tuple[int, ...]) -> Tensor:
        """An array that must have one of these shapes."""
        self._check(name, *shapes)
        return torch.from_numpy(_floats(self.arrays[name]))

    def _check(self, name: str, *shapes: tuple[int, ...]) -> None:
        values = self.arrays[name]
        if values.shape not in shapes or values.dtype.kind not in "fiu":
            raise InputError(
                f"{self.where}: {name} must hold numbers in shape {' or '.join(map(str, shapes))}, "
                f"got shape {values.shape} and type {values.dtype}"
            )


def mask_nan_labels(data: Structure, sizes: np.ndarray, labels: Iterable[str]) -> dict[str, int]:
    """Set masks where labels are nan; returns how many structures lack each label.

    Args:
        data: structures in a row.
        sizes: atoms of each.
        labels: names of the labels.
    """
    lacking, owner = {}, np.repeat(np.arange(len(sizes)), sizes)
    for label in labels:
        if label not in data or not bool(data[label].isnan().any()):
            continue
        rows = data[label].isnan().reshape(len(data[label]), -1).any(1)
        of_atoms = is_per_atom(label, data[label], len(owner), len(sizes))
        absent = torch.zeros(len(sizes), dtype=torch.bool)
        absent[owner[rows] if of_atoms else rows] = True
        data[label][absent[owner] if of_atoms else absent] = torch.nan
        data[mask_name(label)], lacking[label] = ~absent, int(absent.sum())
    return lacking


def _can_be_field(name: str) -> bool:
    try:
        check_name(name, "")
    except InputError:
        return False
    return True


def _floats(values: np.ndarray) -> np.ndarray | None:
    """Numbers in float32 where they are, else in float64; `None` for what are no numbers."""
    if values.dtype.kind not in "fiu":
        return None
    dtype = np.float32 if values.dtype == np.float32 else np.float64
    return np.ascontiguousarray(values, dtype=dtype)


def _plain(values: np.ndarray) -> np.ndarray | None:
    """Numbers in 64 bits, or true and false; `None` for what has no such type."""
    kind = values.dtype.kind
    if kind not in _TYPES or (kind == "u" and values.size and int(values.max()) >= 2**63):
        return None
    return np.ascontiguousarray(values, dtype=_TYPES[kind])


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
