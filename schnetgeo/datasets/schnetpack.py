"""Databases of SchNetPack, read without it, and data set objects of SchNetPack, converted."""

import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from schnetgeo import units
from schnetgeo.data.packed import PackedDataset
from schnetgeo.data.structure import PER_ATOM, Structure
from schnetgeo.datasets.ase_database import metadata, rows
from schnetgeo.errors import InputError

_ENERGIES = ("energy", "total_energy")  # what SchNetPack's own data sets call them
_FORCES = ("forces", "atomic_forces")
_UNITS, _LENGTH = "_property_unit_dict", "_distance_unit"  # in the metadata


class _Labels(NamedTuple):
    """Which properties are labels, and what each is multiplied by."""

    energy: str | None
    forces: str | None
    factors: dict[str, float]
    length: float
    drop: tuple[str, ...]


def is_schnetpack(path: str | os.PathLike) -> bool:
    """Whether a database says what SchNetPack writes: its properties and their units."""
    return _UNITS in metadata(path)


def read_schnetpack(
    path: str | os.PathLike,
    energy_key: str | None = None,
    forces_key: str | None = None,
    energy_unit: str | None = None,
    force_unit: str | None = None,
    length_unit: str | None = None,
    drop: tuple[str, ...] = (),
) -> PackedDataset:
    """Structures of a database of SchNetPack 2 in eV and Å, units as its metadata state them.

    One property is the energy, one the forces; the others keep their names, energies among them
    in eV, what is no energy in its own unit.

    Args:
        path: the .db file.
        energy_key: property that is the energy; `None` is `energy` or `total_energy`.
        forces_key: property that is the forces; `None` is `forces` or `atomic_forces`.
        energy_unit: unit of the energy, where the metadata are wrong or silent.
        force_unit: likewise.
        length_unit: likewise, of positions and cells.
        drop: properties to leave out.

    Raises:
        InputError: names the file, the row and the property.
    """
    about, name = metadata(path), os.path.basename(path)
    stated = dict(about.get(_UNITS) or {})
    labels = _labels(name, stated, energy_key, forces_key, energy_unit, force_unit,
                     length_unit or about.get(_LENGTH), drop)  # fmt: skip
    structures = []
    for row in rows(path):
        geometry = (row.numbers, row.positions, row.cell, row.pbc)
        where = f"{name}, row {row.id}"
        structures.append(_structure(where, *geometry, row.data, stated, labels))
    return PackedDataset.from_list(structures, name)


def from_schnetpack(
    dataset: Any,
    energy_key: str | None = None,
    forces_key: str | None = None,
    drop: tuple[str, ...] = (),
) -> PackedDataset:
    """A data set object of SchNetPack 2 in eV and Å, by the units that it states.

    Its transforms are not applied: offsets that they subtract are labels here.

    Args:
        dataset: `ASEAtomsData` or a subset of it, or a data module after `setup()`.
        energy_key: property that is the energy; `None` is `energy` or `total_energy`.
        forces_key: property that is the forces; `None` is `forces` or `atomic_forces`.
        drop: properties to leave out.

    Raises:
        InputError: for another object, and for what cannot be kept.
    """
    dataset = getattr(dataset, "dataset", dataset)
    if not hasattr(dataset, "iter_properties"):
        raise InputError(
            f"from_schnetpack takes a data set of SchNetPack, got {type(dataset).__name__}; a data "
            "module has one after setup()"
        )
    name, stated = type(dataset).__name__, dict(dataset.units)
    labels = _labels(name, stated, energy_key, forces_key, None, None, dataset.distance_unit, drop)
    structures = []
    for index, item in enumerate(dataset.iter_properties(load_structure=True)):
        arrays = {key: value.numpy() for key, value in item.items()}
        geometry = [arrays[f"_{key}"] for key in ("atomic_numbers", "positions", "cell", "pbc")]
        where = f"{name}, structure {index}"
        structures.append(_structure(where, *geometry, arrays, stated, labels))
    return PackedDataset.from_list(structures, name)


def _labels(
    name: str,
    stated: Mapping[str, str],
    energy_key: str | None,
    forces_key: str | None,
    energy_unit: str | None,
    force_unit: str | None,
    length_unit: str | None,
    drop: tuple[str, ...],
) -> _Labels:
    energy = _chosen(name, stated, energy_key, _ENERGIES, "energy")
    forces = _chosen(name, stated, forces_key, _FORCES, "forces")
    factors = {key: _energy_factor(unit) for key, unit in stated.items()}
    try:
        if energy:
            factors[energy] = units.energy(energy_unit or _required(stated, energy, "energy_unit"))
        if forces:
            factors[forces] = units.force(force_unit or _required(stated, forces, "force_unit"))
        length = units.length(length_unit or "Angstrom")
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    return _Labels(energy, forces, factors, length, tuple(drop))


def _chosen(
    name: str, stated: Mapping[str, str], key: str | None, usual: Iterable[str], kind: str
) -> str | None:
    if key is None:
        return next((known for known in usual if known in stated), None)
    if key not in stated:
        raise InputError(f"{name}: has no {kind} named {key!r}; it has {', '.join(stated)}")
    return key


def _required(stated: Mapping[str, str], key: str, option: str) -> str:
    if not stated[key]:
        raise InputError(f"does not state the unit of {key!r}; give {option}")
    return stated[key].replace(" ", "")


def _energy_factor(unit: str | None) -> float:
    """What brings a property to eV, if it is an energy."""
    try:
        return units.energy((unit or "").replace(" ", ""))
    except InputError:
        return 1.0


def _structure(
    where: str, numbers, positions, cell, pbc, properties: Mapping, stated: Mapping, labels: _Labels
) -> Structure:
    data = Structure(
        z=torch.from_numpy(np.array(numbers, dtype=np.int64)),
        pos=torch.from_numpy(np.array(positions, dtype=np.float64) * labels.length),
        cell=torch.from_numpy(np.array(cell, dtype=np.float64).reshape(1, 3, 3) * labels.length),
        pbc=torch.from_numpy(np.array(pbc, dtype=bool).reshape(1, 3)),
    )
    for name in stated:
        if name in labels.drop:
            continue
        if name not in properties:
            raise InputError(f"{where}: has no {name!r}; give it to all rows, or drop it")
        value = np.array(properties[name], dtype=np.float64) * labels.factors[name]
        key = {labels.energy: "energy", labels.forces: "forces"}.get(name, name)
        data[key] = torch.from_numpy(_shaped(where, name, key, value, data.z.numel()))
    return data


def _shaped(where: str, name: str, key: str, value: np.ndarray, atoms: int) -> np.ndarray:
    """(N, …) for what belongs to atoms, (1, …) for what belongs to the structure."""
    if key in PER_ATOM:
        if value.shape[:1] != (atoms,):
            raise InputError(f"{where}: {name} must have {atoms} rows, got shape {value.shape}")
        return value.reshape(-1) if key == "charges" else value
    if value.size == 1:
        return value.reshape(1)
    if value.shape[:1] == (atoms,) and value.shape != (3,):
        raise InputError(
            f"{where}: {name} has a value for each atom and none of the names {', '.join(PER_ATOM)}"
            f"; pass drop=({name!r},) to go on without it"
        )
    return value if value.shape[:1] == (1,) else value[None]
