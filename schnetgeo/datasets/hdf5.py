"""HDF5 files of structures: a group for each molecule, as ANI, SPICE and QM7-X are published."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from schnetgeo.data.labels import Keys
from schnetgeo.data.packed import PackedDataset
from schnetgeo.data.stated_units import NONE, Convention, FileUnits, Units, check_effect, stated_in
from schnetgeo.data.structure import PER_ATOM
from schnetgeo.datasets.array_layout import COUNTS, NUMBERS, POSITIONS, name_in
from schnetgeo.datasets.arrays import CELLS, ENERGIES, FORCES, ArrayReader
from schnetgeo.datasets.hdf5_values import ValueReader, is_plain
from schnetgeo.datasets.label_names import label_in
from schnetgeo.errors import InputError
from schnetgeo.notes import note


class _Published(NamedTuple):
    """A data set that is known by the name of its energy, with what it calls its labels."""

    energy: str
    forces: str | None
    convention: Convention


_SETS = (
    _Published(
        "wb97x_dz.energy", "wb97x_dz.forces",
        Convention("ANI-1x", Units("Hartree", "Hartree/Angstrom", None, "Angstrom")),
    ),
    _Published(
        "dft_total_energy", "-dft_total_gradient",
        Convention("SPICE", Units("Hartree", "Hartree/Bohr", None, "Bohr")),
    ),
    _Published(
        "wB97x_6-31G(d).energy", "wB97x_6-31G(d).forces",
        Convention("Transition1x", Units("eV", "eV/Angstrom", None, "Angstrom")),
    ),
    _Published(
        "ePBE0+MBD", "totFOR",
        Convention("QM7-X", Units("eV", "eV/Angstrom", None, "Angstrom")),
    ),
    _Published(
        "energiesHE", None, Convention("ANI-1", Units("Hartree", None, None, "Angstrom")),
    ),
)  # fmt: skip


def read_hdf5(
    path: str | os.PathLike,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    virial_key: str | None = None,
    energy_unit: str | None = None,
    force_unit: str | None = None,
    stress_unit: str | None = None,
    length_unit: str | None = None,
    drop: tuple[str, ...] = (),
    used: set[str] | None = None,
) -> Iterator[PackedDataset]:
    """Structures of an HDF5 file, in eV and Å, a data set for each group.

    Every group, at any depth, that holds atomic numbers or symbols (`atomic_numbers`, `species`,
    `z`) and positions (`coordinates`, `conformations`, `positions`, `R`) is a set of conformations
    of one molecule, in the layouts of `read_npz`. Labels are found under their usual names, and
    those of ANI-1, ANI-1x, SPICE, Transition1x and QM7-X under theirs, with the units of their
    authors. Conformations whose energy or forces are nan, as in ANI-1x, are left out, and so is
    what is neither label nor one number or text for a structure; notes say so with counts.

    Units are those in the attributes `units` of the labels and positions, or `e_unit`, `f_unit`,
    `r_unit` of file or group; what is stated nowhere must be given.

    Args:
        path: the file.
        energy_key: name of the energy in each group.
        forces_key: of the forces; a minus before a name takes the negative, as of gradients.
        stress_key: of the stress.
        virial_key: of the virial.
        energy_unit: needed unless the file states it.
        force_unit: likewise.
        stress_unit: likewise.
        length_unit: likewise.
        drop: names to leave out.
        used: is told the kinds of units that were applied; `None` refuses those without effect.

    Raises:
        InputError: names the file, the group, and what is wrong with it.
    """
    h5py = _h5py(path)
    names = Keys(energy_key, forces_key, stress_key, virial_key)
    given = Units(energy_unit, force_unit, stress_unit, length_unit)
    name, left_out = os.path.basename(path), Counter()
    try:
        with h5py.File(path, "r") as file:
            values = ValueReader(path)
            count, reviewed, applied = 0, set(), set() if used is None else used
            for group in _groups(file):
                part = _read_group(
                    h5py, values, name, group, names, given, drop, left_out, reviewed
                )
                if part is not None:
                    count += 1
                    applied.update(*(kinds for _, kinds in reviewed))
                    yield part
            if not count:
                raise InputError(
                    f"{path}: no group of this HDF5 file holds both atomic numbers "
                    f"({', '.join(NUMBERS)}) and positions ({', '.join(POSITIONS)}) with labels; "
                    "convert it to .npz or extxyz"
                )
            if used is None:
                check_effect(name, given, applied)
    except InputError:
        raise
    except Exception as error:  # of HDF5's library, of many kinds
        raise InputError(
            f"{path}: cannot be read as HDF5 ({type(error).__name__}: {str(error)[:120]}); get a "
            "fresh copy, or convert it to .npz or extxyz"
        ) from None
    if left_out:
        items = [f"{what} ({number:,})" for what, number in left_out.most_common()]
        note(f"{name}: left out {', '.join(items)}")


def _h5py(path: str | os.PathLike):
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


def _read_group(
    h5py,
    values: ValueReader,
    where: str,
    group,
    names: Keys,
    given: Units,
    drop: tuple[str, ...],
    left_out: Counter[str],
    reviewed: set[tuple[Units, frozenset[str]]],
) -> PackedDataset | None:
    place = f"{where}, group {group.name}"
    items = {
        key: item
        for key in group
        if group.get(key, getclass=True, getlink=True) is h5py.HardLink
        and isinstance(item := group[key], h5py.Dataset)
        and key not in drop
    }
    if not (name_in(items, NUMBERS) and name_in(items, POSITIONS)):
        return None  # dropped
    known = next((one for one in _SETS if one.energy in items), None)
    names, convention = _completed(names, known, items), known.convention if known else NONE
    arrays = _arrays(values, place, items, names, left_out)
    labels = _label_arrays(place, arrays, names)
    kept = _with_labels(arrays, labels, left_out)
    if kept is None:
        return None
    units = FileUnits(place, _stated(place, group, items, labels), given, convention)
    reader = ArrayReader(place, kept, units)
    dataset = reader.dataset(names)
    left_out.update(dict.fromkeys(reader.left_out, 1))
    if (state := (units.stated, frozenset(units.used))) not in reviewed:
        reviewed.add(state)
        units.review(dataset)
    dataset.where = where
    return dataset


def _completed(names: Keys, known: _Published | None, items: dict) -> Keys:
    if known is None or known.energy == "energiesHE":
        return names
    forces = known.forces if (known.forces or "").removeprefix("-") in items else None
    return names._replace(energy=names.energy or known.energy, forces=names.forces or forces)


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
    wanted |= {key.removeprefix("-") for key in names if key}
    of_atoms = {*POSITIONS, *FORCES, (names.forces or "").removeprefix("-")}
    count = _count(items)
    single = count == 1 and items[name_in(items, POSITIONS)].ndim == 2
    arrays = {}
    for key, item in items.items():
        fits = item.shape in ((), (1,), (count,)) and key not in PER_ATOM and is_plain(item)
        if key not in wanted and not fits:
            left_out[key] += count
            continue
        values = reader.read(place, key, item)
        lacks_axis = values.ndim == 2 if key in of_atoms else values.shape[:1] != (1,)
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


def _with_labels(
    arrays: dict[str, np.ndarray], labels: dict[str, str], left_out: Counter[str]
) -> dict[str, np.ndarray] | None:
    """The arrays of those structures whose labels are numbers; `None` where there are none."""
    count, owner = _count(arrays), _owner(arrays)
    whole = np.ones(count, bool)
    for name in labels.values():
        values = arrays[name]
        if values.dtype.kind == "f" and len(values) == count:
            whole &= np.isfinite(values.reshape(count, -1)).all(1)
        elif values.dtype.kind == "f" and len(values) == len(owner):
            whole[owner[~np.isfinite(values.reshape(len(owner), -1)).all(1)]] = False
    if whole.all():
        return arrays
    left_out["structures without a label"] += int((~whole).sum())
    if not whole.any():
        return None
    numbers, per_atom = name_in(arrays, NUMBERS), whole[owner]
    of_atoms = {numbers, name_in(arrays, POSITIONS), labels.get("forces")} if owner.size else set()
    return {
        name: values[per_atom]
        if name in of_atoms
        else values[whole]
        if values.shape[:1] == (count,) and (name != numbers or values.ndim == 2)
        else values
        for name, values in arrays.items()
    }


def _owner(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Of ragged arrays the structure that each atom belongs to; empty for other layouts."""
    positions, counts = arrays[name_in(arrays, POSITIONS)], name_in(arrays, COUNTS)
    sizes = np.empty(0, np.int64) if counts is None else arrays[counts].reshape(-1)
    whole = sizes.dtype.kind in "iu" and bool((sizes >= 0).all())
    if positions.ndim != 2 or not whole or sizes.sum() != len(positions):
        return np.empty(0, np.int64)
    return np.repeat(np.arange(sizes.size), sizes)


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
