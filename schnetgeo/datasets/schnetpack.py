"""Databases of SchNetPack, read without it, and data set objects of SchNetPack, converted."""

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from ase.stress import voigt_6_to_full_3x3_stress
from torch.utils.data import ConcatDataset, Subset

from schnetgeo import units
from schnetgeo.data.atoms import add_scalars
from schnetgeo.data.labels import Keys
from schnetgeo.data.merge import Remarks
from schnetgeo.data.packed import PackedDataset
from schnetgeo.data.stated_units import FileUnits, Units, check_effect
from schnetgeo.data.structure import PER_ATOM, Structure
from schnetgeo.datasets.ase_database import metadata, rows
from schnetgeo.datasets.label_names import Label, label_in
from schnetgeo.errors import InputError
from schnetgeo.notes import note

_ENERGIES = ("energy", "total_energy")  # what SchNetPack's own data sets call them
_FORCES = ("forces", "atomic_forces")
_STRESS = ("stress",)
_UNITS, _LENGTH = "_property_unit_dict", "_distance_unit"  # in the metadata
_ASE_UNITS = {"energy": "eV", "force": "eV/Angstrom", "stress": "eV/Angstrom^3", "length": "Ang"}


class _Row(NamedTuple):
    """One structure and its properties, and what else was stored with it."""

    where: str
    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    properties: Mapping[str, Any]
    pairs: Mapping[str, Any]


def is_schnetpack(path: str | os.PathLike) -> bool:
    """Whether a database says what SchNetPack writes: its properties and their units."""
    return _UNITS in metadata(path)


def read_schnetpack(
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
) -> PackedDataset:
    """Structures of a database of SchNetPack 2 in eV and Å, units as its metadata state them.

    Properties called as below are the labels; the others keep their names, energies among them in
    eV, what is no energy in its own unit. Key-value pairs of the rows are kept too. Properties
    with a value for each atom that are none of `PER_ATOM` are left out, and a note says so.

    Args:
        path: the .db file.
        energy_key: property that is the energy; `None` is `energy` or `total_energy`; a minus
            before a name takes the negative.
        forces_key: property that is the forces; `None` is `forces` or `atomic_forces`.
        stress_key: property that is the stress; `None` is `stress`.
        virial_key: property that is the virial, −V · stress, in a unit of energy.
        energy_unit: unit of the energy, where the metadata are silent.
        force_unit: likewise.
        stress_unit: likewise.
        length_unit: likewise, of positions and cells.
        drop: properties and pairs to leave out.
        used: is told the kinds of units that were applied; `None` refuses those without effect.

    Raises:
        InputError: names the file, the row and the property.
    """
    about, name = metadata(path), os.path.basename(path)
    stated = {key: unit for key, unit in dict(about.get(_UNITS) or {}).items() if key not in drop}
    records = [
        _Row(
            f"{name}, row {row.id}", row.numbers, row.positions, row.cell, row.pbc,
            {**row.key_value_pairs, **row.data},
            {k: v for k, v in row.key_value_pairs.items() if k not in {*stated, *drop}},
        )
        for row in rows(path)
    ]  # fmt: skip
    names = Keys(energy_key, forces_key, stress_key, virial_key)
    given = Units(energy_unit, force_unit, stress_unit, length_unit)
    applied = set() if used is None else used
    dataset = _dataset(name, records, stated, about.get(_LENGTH), names, given, applied)
    if used is None:
        check_effect(name, given, applied)
    return dataset


def from_schnetpack(
    dataset: Any,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    virial_key: str | None = None,
    drop: tuple[str, ...] = (),
) -> PackedDataset:
    """A data set object of SchNetPack 2 in eV and Å, by the units that it states.

    Its transforms are not applied: offsets that they subtract are labels here. With
    `load_properties` only these are there.

    Args:
        dataset: `ASEAtomsData`, or a subset, `torch.utils.data.Subset` or `ConcatDataset` of
            such, or a data module after `setup()`.
        energy_key: property that is the energy; `None` is `energy` or `total_energy`; a minus
            before a name takes the negative.
        forces_key: property that is the forces; `None` is `forces` or `atomic_forces`.
        stress_key: property that is the stress; `None` is `stress`.
        virial_key: property that is the virial, −V · stress, in a unit of energy.
        drop: properties to leave out.

    Raises:
        InputError: for another object, and for what cannot be kept.
    """
    names = Keys(energy_key, forces_key, stress_key, virial_key)
    parts = []
    for part, indices in _parts(dataset, None):
        stated = {k: u for k, u in dict(part.units).items() if k not in drop}
        if part.load_properties is not None:
            stated = {k: u for k, u in stated.items() if k in part.load_properties}
        name = type(part).__name__
        items = part.iter_properties(indices, load_structure=True)
        records = [_record(name, index, item) for index, item in enumerate(items)]
        parts.append(_dataset(name, records, stated, part.distance_unit, names, Units(), set()))
    structures = [structure for part in parts for structure in part]
    return parts[0] if len(parts) == 1 else PackedDataset.from_list(structures, parts[0].where)


def _parts(dataset: Any, indices: list[int] | None) -> Iterator[tuple[Any, list[int] | None]]:
    """Data sets of SchNetPack and the rows chosen from each; `None` is all of them."""
    if isinstance(dataset, Subset):
        own = list(map(int, dataset.indices))
        yield from _parts(dataset.dataset, own if indices is None else [own[k] for k in indices])
    elif isinstance(dataset, ConcatDataset):
        first = 0
        for part in dataset.datasets:
            inside = None
            if indices is not None:  # in the order of the parts
                inside = [k - first for k in indices if first <= k < first + len(part)]
            yield from _parts(part, inside)
            first += len(part)
    elif hasattr(dataset, "iter_properties"):
        yield dataset, indices
    elif getattr(dataset, "dataset", None) is not None:
        yield from _parts(dataset.dataset, indices)
    else:
        raise InputError(
            f"from_schnetpack takes a data set of SchNetPack, got {type(dataset).__name__}; a data "
            "module has one after setup()"
        )


def _record(name: str, index: int, item: Mapping) -> _Row:
    arrays = {key: value.numpy() for key, value in item.items()}
    geometry = [arrays[f"_{key}"] for key in ("atomic_numbers", "positions", "cell", "pbc")]
    return _Row(f"{name}, structure {index}", *geometry, arrays, {})


def _dataset(
    where: str,
    records: list[_Row],
    stated: Mapping[str, str | float | None],
    length: str | float | None,
    names: Keys,
    given: Units,
    used: set[str],
) -> PackedDataset:
    labels = {
        "energy": label_in(stated, names, "energy", _ENERGIES, where),
        "forces": label_in(stated, names, "forces", _FORCES, where),
        "stress": label_in(stated, names, "stress", _STRESS, where),
        "virial": label_in(stated, names, "virial", (), where),
    }
    file_units = FileUnits(where, _stated_units(stated, labels, length), given)
    factors = {key: _energy_factor(unit) for key, unit in stated.items()}
    for field, label in labels.items():
        if label:
            factors[label.name] = label.sign * _factor(field, stated[label.name], file_units)
    renamed = {label.name: field for field, label in labels.items() if label}
    per_atom = _per_atom(records, stated, renamed)
    scale = file_units.factor("length")
    structures, remarks = [], Remarks()
    for row in records:
        data = _geometry(row, scale)
        for name in stated:
            if name not in per_atom:
                _add(data, row, name, renamed.get(name, name), factors[name])
        remarks.left_out.update(_add_pairs(data, row))
        structures.append(data)
    dataset = PackedDataset.from_list(structures, where, remarks)
    remarks.say(where, len(dataset))
    file_units.review(dataset)
    used |= file_units.used
    if per_atom:
        note(f"{where}: left out {', '.join(sorted(per_atom))}, with a value for each atom")
    return dataset


def _stated_units(
    stated: Mapping[str, Any], labels: Mapping[str, Label | None], length: Any
) -> Units:
    def unit(field: str, kind: str) -> str | None:
        label = labels[field]
        return None if label is None else _text(stated[label.name], kind)

    energy = unit("energy" if labels["energy"] else "virial", "energy")
    return Units(energy, unit("forces", "force"), unit("stress", "stress"), _text(length, "length"))


def _factor(field: str, stated: Any, file_units: FileUnits) -> float:
    """What brings a label to eV and Å; a virial may state another unit than the energy."""
    unit = _text(stated, "energy") if field == "virial" else None
    if unit is not None:
        return FileUnits(file_units.where, Units(energy=unit)).factor("energy")
    return file_units.factor({"forces": "force", "virial": "energy"}.get(field, field))


def _text(unit: str | float | None, kind: str) -> str | None:
    """Name of a unit; a number is one of ASE's units, as everywhere in SchNetPack."""
    if isinstance(unit, int | float) and not isinstance(unit, bool):
        return f"{float(unit)!r} {_ASE_UNITS[kind]}"
    return unit or None


def _energy_factor(unit: str | float | None) -> float:
    """What brings a property to eV, if it is an energy."""
    try:
        return units.energy(unit) if isinstance(unit, str) else 1.0
    except InputError:
        return 1.0


def _geometry(row: _Row, scale: float) -> Structure:
    return Structure(
        z=torch.from_numpy(np.array(row.numbers, dtype=np.int64)),
        pos=torch.from_numpy(np.array(row.positions, dtype=np.float64) * scale),
        cell=torch.from_numpy(np.array(row.cell, dtype=np.float64).reshape(1, 3, 3) * scale),
        pbc=torch.from_numpy(np.array(row.pbc, dtype=bool).reshape(1, 3)),
    )


def _add_pairs(data: Structure, row: _Row) -> list[str]:
    """Add the key-value pairs of a row; returns what a structure has no place for."""
    left_out: list[str] = []
    try:
        add_scalars(data, row.pairs, left_out, "key_value_pairs")
    except InputError as error:
        raise InputError(f"{row.where}: {error}") from None
    return left_out


def _per_atom(records: list[_Row], stated: Mapping, renamed: Mapping[str, str]) -> set[str]:
    """Properties with a row for each atom that structures have no place for.

    Three rows of three numbers in a molecule of three atoms may be a tensor; the other molecules
    tell.
    """
    names = set()
    for name in stated:
        if renamed.get(name, name) in PER_ATOM or name in renamed:
            continue
        shapes = [(row, np.shape(row.properties.get(name))) for row in records]
        atoms = [row for row, shape in shapes if _has_rows(shape, len(row.numbers))]
        if len(atoms) == len(records) and any(len(row.numbers) != 3 for row in records):
            names.add(name)
        elif any(len(row.numbers) != 3 for row in atoms):
            row = next(row for row in atoms if len(row.numbers) != 3)
            raise InputError(
                f"{row.where}: {name} has a value for each atom, but not in all rows; correct it, "
                f"or pass drop=({name!r},) (--drop {name}) to go on without it"
            )
    return names


def _has_rows(shape: tuple[int, ...], atoms: int) -> bool:
    return atoms > 1 and shape[:1] == (atoms,) and shape != (3,)


def _add(data: Structure, row: _Row, name: str, key: str, factor: float) -> None:
    if name not in row.properties:
        raise InputError(f"{row.where}: has no {name!r}; give it to all rows, or drop it")
    try:
        value = np.array(row.properties[name], dtype=np.float64) * factor
    except (TypeError, ValueError):
        raise InputError(
            f"{row.where}: {name} does not hold numbers; drop it (--drop {name})"
        ) from None
    if key == "virial":
        data.stress = -torch.from_numpy(_matrix(row, name, value)) / _volume(data, row, name)
    elif key == "stress":
        data.stress = torch.from_numpy(_matrix(row, name, value))
    else:
        data[key] = torch.from_numpy(_shaped(row, name, key, value))


def _matrix(row: _Row, name: str, value: np.ndarray) -> np.ndarray:
    """A matrix (1, 3, 3) of nine numbers, or of six in the order xx yy zz yz xz xy."""
    if value.size == 6:
        value = voigt_6_to_full_3x3_stress(value.reshape(6))
    if value.size != 9:
        raise InputError(f"{row.where}: {name} must have shape (3, 3), got {value.shape}")
    return value.reshape(1, 3, 3)


def _volume(data: Structure, row: _Row, name: str) -> float:
    if not bool(data.pbc.all()):
        raise InputError(
            f"{row.where}: {name} needs a periodic cell, whose volume makes it a stress"
        )
    return float(torch.linalg.det(data.cell[0]).abs())


def _shaped(row: _Row, name: str, key: str, value: np.ndarray) -> np.ndarray:
    """(N, …) for what belongs to atoms, (1, …) for what belongs to the structure."""
    atoms = len(row.numbers)
    if key in PER_ATOM:
        if value.shape[:1] != (atoms,):
            raise InputError(f"{row.where}: {name} must have {atoms} rows, got shape {value.shape}")
        return value.reshape(-1) if key == "charges" else value
    if value.size == 1:
        return value.reshape(1)
    return value if value.shape[:1] == (1,) else value[None]
