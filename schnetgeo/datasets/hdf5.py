"""HDF5 files of structures: a group for each molecule, as ANI, SPICE and QM7-X are published."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType

import numpy as np

from schnetgeo.data.file_units import FileUnits, check_effect
from schnetgeo.data.further_labels import LabelReader, check_labels_exist
from schnetgeo.data.labels import KINDS, Keys
from schnetgeo.data.merge import Remarks
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.stated_units import NONE, Units, stated_in
from schnetgeo.data.structure import LABELS, PER_ATOM
from schnetgeo.datasets.array_layout import COUNTS, NUMBERS, POSITIONS, name_in
from schnetgeo.datasets.arrays import CELLS, ENERGIES, FORCES, ArrayReader, mask_nan_labels
from schnetgeo.datasets.hdf5_sets import complete_keys, published_set
from schnetgeo.datasets.hdf5_values import ValueReader, is_plain
from schnetgeo.datasets.label_names import label_in
from schnetgeo.errors import InputError


def read_hdf5(
    path: str | os.PathLike,
    keys: Keys = Keys(),  # noqa: B008
    units: Units = Units(),  # noqa: B008
    drop: tuple[str, ...] = (),
    remarks: Remarks | None = None,
    used: set[str] | None = None,
) -> Iterator[StructureDataset]:
    """Structures of an HDF5 file, in eV and Å, a data set for each group.

    Every group, at any depth, that holds atomic numbers or symbols (`atomic_numbers`, `species`,
    `z`) and positions (`coordinates`, `conformations`, `positions`, `R`) is a set of conformations
    of one molecule, in the layouts of `read_npz`. Labels are found under their usual names, and
    those of ANI-1, ANI-1x, SPICE, Transition1x and QM7-X under theirs, with the units of their
    authors. A label that is nan, as in ANI-1x, is one that the structure lacks. What is neither
    label nor one number or text for a structure is left out.

    Units are those in the attributes `units` of the labels and positions, or `e_unit`, `f_unit`,
    `r_unit` of file or group; what is stated nowhere must be given.

    Args:
        path: the file.
        keys: names of the labels in each group.
        units: needed where the file states none.
        drop: names to leave out.
        remarks: is told what was left out or is lacking, instead of notes.
        used: is told the kinds of units that were applied; `None` refuses those without effect.

    Raises:
        InputError: names the file, the group, and what is wrong with it.
    """
    h5py, name = import_h5py(path), os.path.basename(path)
    reader = _GroupReader(h5py, path, keys, units, tuple(drop), remarks or Remarks())
    try:
        with h5py.File(path, "r") as file:
            for group in _groups(file):
                part = reader.read(group)
                if part is not None:
                    yield part
    except InputError:
        raise
    except Exception as error:  # of HDF5's library, of many kinds
        raise InputError(
            f"{path}: cannot be read as HDF5 ({type(error).__name__}: {str(error)[:120]}); get a "
            "fresh copy, or convert it to .npz or extxyz"
        ) from None
    if not reader.count:
        raise InputError(
            f"{path}: no group of this HDF5 file holds both atomic numbers ({', '.join(NUMBERS)}) "
            f"and positions ({', '.join(POSITIONS)}); convert it to .npz or extxyz"
        )
    check_labels_exist(name, keys.further, reader.fields, reader.names)
    if used is None:
        check_effect(name, units, reader.used)
    else:
        used |= reader.used
    if remarks is None:
        reader.remarks.say(name, reader.count)


def import_h5py(path: str | os.PathLike) -> ModuleType:
    """The library for HDF5; an `InputError` where it or the file is missing."""
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file; check the name")
    try:
        import h5py
    except ImportError:
        raise InputError(f"{path}: HDF5 files need h5py: pip install h5py") from None
    return h5py


def _groups(file) -> Iterator:
    """Groups with numbers and positions, in the order of their names; links are not followed."""
    paths = ["/"]
    file.visititems(lambda path, item: paths.append(path) if hasattr(item, "keys") else None)
    for path in paths:
        group = file[path]
        if name_in(group, NUMBERS) and name_in(group, POSITIONS):
            yield group


class _GroupReader:
    """Reads the groups of one file and remembers what it saw of all of them."""

    def __init__(
        self,
        h5py: ModuleType,
        path: str | os.PathLike,
        keys: Keys,
        units: Units,
        drop: tuple[str, ...],
        remarks: Remarks,
    ):
        self.h5py, self.name, self.values = h5py, os.path.basename(path), ValueReader(path)
        self.keys, self.units, self.drop, self.remarks = keys, units, drop, remarks
        self.count = 0  # structures
        self.used: set[str] = set()
        self.fields: set[str] = set()
        self.names: set[str] = set()
        self.reviewed: set[tuple[Units, frozenset[str]]] = set()

    def read(self, group) -> StructureDataset | None:
        """The structures of a group; `None` where its geometry is dropped."""
        where, items = f"{self.name}, group {group.name}", self._items(group)
        if not (name_in(items, NUMBERS) and name_in(items, POSITIONS)):
            return None
        known = published_set(items)
        keys = complete_keys(self.keys, known, items) if known else self.keys
        left_out = self.remarks.left_out
        arrays = _arrays(self.values, where, items, keys, left_out)
        stated = _stated(where, group, items, _label_arrays(where, arrays, keys))
        units = FileUnits(where, stated, self.units, known.convention if known else NONE)
        reader = ArrayReader(where, arrays, units, _label_units(items, keys.further))
        structures = reader.structures(keys)
        labels = (*LABELS, *(label.label.name for label in keys.further))
        lacking = mask_nan_labels(structures, reader.layout.sizes, labels)
        self.remarks.lacking.update(lacking)
        self.fields.update(structures.keys())
        self.names.update(items)
        dataset = reader.pack(structures)
        left_out.update(dict.fromkeys(reader.left_out, len(dataset)))
        self._review(units, dataset)
        dataset.name = self.name
        self.count += len(dataset)
        return dataset

    def _items(self, group) -> dict:
        """Arrays of the group itself that are not dropped."""
        return {
            key: item
            for key in group
            if group.get(key, getclass=True, getlink=True) is self.h5py.HardLink
            and isinstance(item := group[key], self.h5py.Dataset)
            and key not in self.drop
        }

    def _review(self, units: FileUnits, dataset: StructureDataset) -> None:
        """Once for each combination of units, of which a file has one or two."""
        state = units.stated, frozenset(units.used)
        if state not in self.reviewed:
            self.reviewed.add(state)
            self.used |= units.used
            units.review(dataset)


def _label_arrays(place: str, arrays: dict, names: Keys) -> dict[str, str]:
    """Names of the arrays of energies, forces and so on, by kind of unit."""
    usual = {"energy": ENERGIES, "forces": FORCES, "stress": ("stress",), "virial": ()}
    return {
        kind: label.name
        for kind in usual
        if (label := label_in(arrays, names, kind, usual[kind], place)) is not None
    }


def _arrays(
    reader: ValueReader, place: str, items: dict, names: Keys, left_out: Counter[str]
) -> dict[str, np.ndarray]:
    """Geometry, labels, and numbers and texts of structures; a single structure as one of many."""
    wanted = {*NUMBERS, *POSITIONS, *COUNTS, *CELLS, *ENERGIES, *FORCES, "pbc", "stress"}
    wanted |= {getattr(names, kind).removeprefix("-") for kind in KINDS if getattr(names, kind)}
    wanted |= {label.key for label in names.further}
    # axes of the arrays of a single structure that may lack one for the structures
    axes = dict.fromkeys((*POSITIONS, *FORCES, (names.forces or "").removeprefix("-")), 2)
    for label in names.further:
        if label.known_per == "atom":
            axes[label.key] = 1 + len(label.target.shape if label.target else ())
    count = _count(items)
    single = count == 1 and items[name_in(items, POSITIONS)].ndim == 2
    arrays = {}
    for key, item in items.items():
        fits = item.shape in ((), (1,), (count,)) and key not in PER_ATOM and is_plain(item)
        if key not in wanted and not fits:
            left_out[key] += count
            continue
        values = reader.read(place, key, item)
        lacks_axis = values.ndim == axes[key] if key in axes else values.shape[:1] != (1,)
        if key not in NUMBERS and single and lacks_axis:
            values = values[None]
        elif key not in wanted and values.shape in ((), (1,)):
            values = reader.repeat(place, key, values, count)
        arrays[key] = values
    return arrays


def _count(items: Mapping) -> int:
    """Structures of a group: as many as counts of atoms, or one without, or rows of positions."""
    positions, counts = items[name_in(items, POSITIONS)], name_in(items, COUNTS)
    if positions.ndim != 2:
        return len(positions)
    return 1 if counts is None else items[counts].size


def _stated(place: str, group, items: dict, labels: dict[str, str]) -> Units:
    """Units in the attributes of labels and positions, of the group, or of the file."""
    stated = stated_in(place, _texts(group.file.attrs) | _texts(group.attrs))
    kinds = {"energy": "energy", "forces": "force", "stress": "stress"}
    named = {kinds[label]: name for label, name in labels.items() if label in kinds}
    named["length"] = name_in(items, POSITIONS)
    for kind, name in named.items():
        texts = _texts(items[name].attrs)
        unit = texts.get("units") or texts.get("unit")
        if unit:
            stated = stated._replace(**{kind: unit})
    return stated


def _label_units(items: dict, labels: Iterable[LabelReader]) -> dict[str, str | None]:
    """Units of further labels, in the attributes of their arrays."""
    texts = {label.key: _texts(items[label.key].attrs) for label in labels if label.key in items}
    return {key: text.get("units") or text.get("unit") for key, text in texts.items()}


def _texts(attributes) -> dict[str, str]:
    """Attributes that are one text; lists of them, which may claim more than there is, are not."""
    texts = {}
    for name in attributes:
        if attributes.get_id(name).shape == ():
            value = attributes[name]
            if isinstance(value, bytes):
                value = value.decode("utf-8", "replace")
            if isinstance(value, str):
                texts[name] = value
    return texts
