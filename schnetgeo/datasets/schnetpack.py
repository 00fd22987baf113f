"""Databases of SchNetPack, read without it, and data set objects of SchNetPack, converted."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch.utils.data import ConcatDataset, Subset

from schnetgeo.data.file_units import check_effect
from schnetgeo.data.labels import Keys
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.stated_units import Units
from schnetgeo.datasets.ase_database import Row, metadata, rows
from schnetgeo.datasets.schnetpack_rows import to_dataset
from schnetgeo.errors import InputError

_UNITS, _LENGTH = "_property_unit_dict", "_distance_unit"  # in the metadata


def is_schnetpack(path: str | os.PathLike) -> bool:
    """Whether a database says what SchNetPack writes: its properties and their units."""
    return _UNITS in metadata(path)


def read_schnetpack(
    path: str | os.PathLike,
    keys: Keys = Keys(),  # noqa: B008
    units: Units = Units(),  # noqa: B008
    drop: tuple[str, ...] = (),
    used: set[str] | None = None,
) -> StructureDataset:
    """Structures of a database of SchNetPack 2 in eV and Å, units as its metadata state them.

    Properties called as below are the labels; the others keep their names, energies among them in
    eV, what is no energy in its own unit. Key-value pairs of the rows are kept too. Properties
    with a value for each atom that are none of `PER_ATOM` are left out, and a note says so.

    Args:
        path: the .db file.
        keys: properties that are the labels; `None` is `energy` or `total_energy`, `forces` or
            `atomic_forces`, `stress`. A virial has a unit of energy.
        units: where the metadata are silent; that of lengths is of positions and cells.
        drop: properties and pairs to leave out.
        used: is told the kinds of units that were applied; `None` refuses those without effect.

    Raises:
        InputError: names the file, the row and the property.
    """
    about, name = metadata(path), os.path.basename(path)
    stated = _without(about.get(_UNITS) or {}, drop)
    records = [
        row._replace(key_value_pairs=_without(row.key_value_pairs, drop)) for row in rows(path)
    ]
    applied = set() if used is None else used
    dataset = to_dataset(name, records, stated, about.get(_LENGTH), keys, units, applied)
    if used is None:
        check_effect(name, units, applied)
    return dataset


def from_schnetpack(
    dataset: Any,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    virial_key: str | None = None,
    drop: tuple[str, ...] = (),
) -> StructureDataset:
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
    keys = Keys(energy_key, forces_key, stress_key, virial_key)
    parts = []
    for part, indices in _parts(dataset, None):
        stated = _without(part.units, drop)
        if part.load_properties is not None:
            stated = {k: u for k, u in stated.items() if k in part.load_properties}
        items = part.iter_properties(indices, load_structure=True)
        records = [_row(index, item) for index, item in enumerate(items, 1)]
        name, length = type(part).__name__, part.distance_unit
        parts.append(to_dataset(name, records, stated, length, keys, Units(), set()))
    structures = [structure for part in parts for structure in part]
    return parts[0] if len(parts) == 1 else StructureDataset.from_list(structures, parts[0].name)


def _parts(dataset: Any, indices: list[int] | None) -> Iterator[tuple[Any, list[int] | None]]:
    """Data sets of SchNetPack and the rows chosen from each; `None` is all of them."""
    if isinstance(dataset, Subset):
        indices_in_set = list(map(int, dataset.indices))
        yield from _parts(
            dataset.dataset,
            indices_in_set if indices is None else [indices_in_set[k] for k in indices],
        )
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


def _row(number: int, item: Mapping) -> Row:
    arrays = {key: value.numpy() for key, value in item.items()}
    geometry = [arrays[f"_{key}"] for key in ("atomic_numbers", "positions", "cell", "pbc")]
    return Row(number, *geometry, key_value_pairs={}, data=arrays)


def _without(values: Mapping[str, Any], drop: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in dict(values).items() if name not in drop}
