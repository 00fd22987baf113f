"""Rows of SchNetPack's databases to structures in eV and Å, by the units that they state."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from schnetgeo import units
from schnetgeo.data.atoms_fields import add_scalars
from schnetgeo.data.file_units import FileUnits
from schnetgeo.data.further_labels import LabelReader, check_labels_exist
from schnetgeo.data.labels import Keys, stress_from_virial, stress_matrices
from schnetgeo.data.merge import Remarks
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.stated_units import Units
from schnetgeo.data.structure import PER_ATOM, Structure, mask_name
from schnetgeo.datasets.ase_database import Row
from schnetgeo.datasets.label_names import Label, label_in
from schnetgeo.errors import InputError
from schnetgeo.notes import note

_ENERGIES = ("energy", "total_energy")  # what SchNetPack's own data sets call them
_FORCES = ("forces", "atomic_forces")
_STRESS = ("stress",)
_ASE_UNITS = {"energy": "eV", "force": "eV/Angstrom", "stress": "eV/Angstrom^3", "length": "Ang"}


def to_dataset(
    where: str,
    rows: list[Row],
    stated: Mapping[str, str | float | None],
    length: str | float | None,
    names: Keys,
    user_units: Units,
    used: set[str],
) -> StructureDataset:
    """Rows with properties to structures in eV and Å.

    Args:
        where: name of the file or object, for messages.
        rows: structures with their properties; other key-value pairs are kept too.
        stated: units of the properties.
        length: unit of positions and cells.
        names: of the labels.
        user_units: units that the user gives.
        used: is told the kinds of units that were applied.

    Raises:
        InputError: names the row and the property.
    """
    labels = {
        "energy": label_in(stated, names, "energy", _ENERGIES, where),
        "forces": label_in(stated, names, "forces", _FORCES, where),
        "stress": label_in(stated, names, "stress", _STRESS, where),
        "virial": label_in(stated, names, "virial", (), where),
    }
    file_units = FileUnits(where, _stated_units(stated, labels, length), user_units)
    factors = {key: _energy_factor(unit) for key, unit in stated.items()}
    for field, label in labels.items():
        if label:
            factors[label.name] = label.sign * _factor(field, stated[label.name], file_units)
    renamed = {label.name: field for field, label in labels.items() if label}
    further = {label.key for label in names.further} | {label.label.name for label in names.further}
    plain = {name: unit for name, unit in stated.items() if name not in further}
    per_atom = _per_atom(where, rows, plain, renamed)
    scale = file_units.factor("length")
    structures, remarks = [], Remarks()
    for row in rows:
        data, left_out = _geometry(row, scale), []
        pairs = {
            k: v for k, v in row.key_value_pairs.items() if k not in stated and k not in further
        }
        try:
            _add_further(data, row, names.further, stated)
            for name in plain:
                if name not in per_atom:
                    _add(data, row, name, renamed.get(name, name), factors[name])
            add_scalars(data, pairs, left_out, "key_value_pairs")
        except InputError as error:
            raise InputError(f"{where}, row {row.id}: {error}") from None
        remarks.left_out.update(left_out)
        structures.append(data)
    dataset = StructureDataset.from_list(structures, where, remarks)
    remarks.say(where, len(dataset))
    present = {*stated, *(key for row in rows[:1] for key in row.key_value_pairs)}
    check_labels_exist(where, names.further, dataset.packed.keys(), present)
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


def _geometry(row: Row, scale: float) -> Structure:
    return Structure(
        z=torch.from_numpy(np.array(row.numbers, dtype=np.int64)),
        pos=torch.from_numpy(np.array(row.positions, dtype=np.float64) * scale),
        cell=torch.from_numpy(np.array(row.cell, dtype=np.float64).reshape(1, 3, 3) * scale),
        pbc=torch.from_numpy(np.array(row.pbc, dtype=bool).reshape(1, 3)),
    )


def _per_atom(where: str, rows: list[Row], stated: Mapping, renamed: Mapping[str, str]) -> set[str]:
    """Properties with a row for each atom that structures have no place for.

    Three rows of three numbers in a molecule of three atoms may be a tensor; the other molecules
    tell.
    """
    names = set()
    for name in stated:
        if renamed.get(name, name) in PER_ATOM or name in renamed:
            continue
        possible = [row for row in rows if np.shape(row.get(name))[:1] == (len(row.numbers),)]
        atoms = [row for row in possible if len(row.numbers) not in (1, 3)]
        if atoms and len(possible) == len(rows):
            names.add(name)
        elif atoms:
            raise InputError(
                f"{where}, row {atoms[0].id}: {name} has a value for each atom, but not in all "
                f"rows; correct it, or pass drop=({name!r},) (--drop {name}) to go on without it"
            )
    return names


def _add(data: Structure, row: Row, name: str, key: str, factor: float) -> None:
    value = row.get(name)
    if value is None:
        raise InputError(f"has no {name!r}; give it to all rows, or drop it")
    try:
        value = np.array(value, dtype=np.float64) * factor
    except (TypeError, ValueError):
        raise InputError(f"{name} does not hold numbers; drop it (--drop {name})") from None
    if key in ("stress", "virial"):
        value = stress_matrices(value, 1, name)
        if key == "virial":
            value = stress_from_virial(value, data.cell.numpy(), data.pbc.numpy(), name)
        data.stress = torch.from_numpy(value)
    else:
        data[key] = torch.from_numpy(_shaped(len(row.numbers), name, key, value))


def _add_further(
    data: Structure, row: Row, labels: Iterable[LabelReader], stated: Mapping[str, Any]
) -> None:
    for label in labels:
        value, atoms = row.get(label.key), len(row.numbers)
        if value is None:
            continue
        per = label.per(np.shape(value), atoms)
        unit = stated.get(label.key)
        unit = unit if isinstance(unit, str) and unit else None
        values = label.read(value, atoms if per == "atom" else 1, per, unit)
        data[label.label.name] = torch.from_numpy(values)
        data[mask_name(label.label.name)] = torch.ones(1, dtype=torch.bool)


def _shaped(atoms: int, name: str, key: str, value: np.ndarray) -> np.ndarray:
    """(N, …) for what belongs to atoms, (1, …) for what belongs to the structure."""
    if key in PER_ATOM:
        if value.shape[:1] != (atoms,):
            raise InputError(f"{name} must have {atoms} rows, got shape {value.shape}")
        return value.reshape(-1) if key == "charges" else value
    if value.size == 1:
        return value.reshape(1)
    return value if value.shape[:1] == (1,) else value[None]
