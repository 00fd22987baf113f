"""Data set objects of PyTorch Geometric, converted."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset
from torch_geometric.data import Data

from schnetgeo.data.file_units import FileUnits, check_effect
from schnetgeo.data.further_labels import (
    Label,
    LabelReader,
    check_labels_exist,
    label_readers,
    targets_of,
)
from schnetgeo.data.names import check_name
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.stated_units import Convention, Units
from schnetgeo.data.structure import PER_ATOM, Structure, mask_name
from schnetgeo.errors import InputError
from schnetgeo.notes import note

QM9_COLUMNS = (
    "mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "U0", "U", "H", "G", "Cv",
    "U0_atom", "U_atom", "H_atom", "G_atom", "A", "B", "C",
)  # fmt: skip
_NUMBERS = ("z", "atomic_numbers")
_FORCES = ("force", "forces")
_QUIET = {"x", "y", "edge_index", "edge_attr", "edge_weight", "batch", "ptr"}  # left out, as said


class _Metadata(NamedTuple):
    """What PyG's documentation says of a data set and its objects do not."""

    energy: str = "energy"
    energy_unit: str | None = None
    force_unit: str | None = None
    columns: Sequence[str] = ()


_KNOWN = {
    "MD17": _Metadata("energy", "kcal/mol", "kcal/mol/Angstrom"),
    "QM9": _Metadata("U0", "eV", columns=QM9_COLUMNS),
}


def from_pyg(
    dataset: Iterable[Data],
    energy: str | None = None,
    forces: str | None = None,
    energy_unit: str | None = None,
    force_unit: str | None = None,
    length_unit: str | None = None,
    columns: Sequence[str] | None = None,
    labels: Sequence[Label | str] = (),
) -> StructureDataset:
    """A data set object of PyG in eV and Å.

    Kept are `z` (or `atomic_numbers`), `pos`, `cell`, `pbc`, the labels, the named columns of `y`,
    strings, single numbers such as a charge `q`, and what each atom has by a name of `PER_ATOM`.
    Edges, features and `y` are left out; of what else is left out a note gives the names. What PyG
    has rounded to float32 stays rounded: 0.03 kcal/mol for MD17's aspirin; read the published file
    with `MD17` or `QM9` to have it all.

    Args:
        dataset: such as `torch_geometric.datasets.QM9`, of which all else is known, a part of it,
            a `torch.utils.data.Subset` or `ConcatDataset` of such, or any objects with `z` and
            `pos`.
        energy: attribute that is the energy, or column of `y`; `None` is `energy` if there is one.
        forces: attribute that is the forces; `None` is `force` or `forces` if there is one.
        energy_unit: unit of the energy; PyG's objects state none.
        force_unit: likewise.
        length_unit: of positions and cells; `None` is Å.
        columns: names of the columns of `y`, which become attributes in their own unit.
        labels: further labels by target, such as Label("dipole", "mu_vec", "Debye"), whose values
            are attributes of the objects or columns of `y`.

    Raises:
        InputError: if there are no structures, no positions, or a unit is not known.
    """
    kind = _class_of(dataset)
    name, metadata = kind.__name__, _KNOWN[kind.__name__] if _is_known(kind) else _Metadata()
    columns = metadata.columns if columns is None else columns
    usual = Units(metadata.energy_unit, metadata.force_unit, length="Angstrom")
    user_units = Units(energy_unit, force_unit, length=length_unit)
    units = FileUnits(
        name, user_units=user_units, convention=Convention(name, usual, of_format=True)
    )
    left_out: dict[str, int] = {}
    structures, readers, names = [], label_readers(labels), set()
    for index, data in enumerate(dataset):
        where = f"{name}, structure {index}"
        values = _values(data, columns, where)
        names |= values.keys()
        further = _further_labels(values, readers, where)
        targets = {
            "energy": _energy(values, energy, metadata, where),
            "forces": _forces(values, forces, where),
        }
        used = {energy or metadata.energy, forces, *_FORCES, *targets}
        structure = _structure(values, targets, units, used, left_out)
        structure.update(further)
        structures.append(structure)
    packed = StructureDataset.from_list(structures, name)
    check_labels_exist(name, readers, packed.packed.keys(), names)
    packed.labels = targets_of(readers)
    units.review(packed)
    check_effect(name, user_units, units.used)
    if left_out:
        items = [f"{key!r} of {count:,}" for key, count in left_out.items()]
        note(f"{name}: left out {', '.join(items)} structures")
    return packed


def _class_of(dataset: Any) -> type:
    """Class of the data set that this is a part of, or several parts of."""
    if isinstance(dataset, Subset):
        return _class_of(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        classes = {_class_of(part) for part in dataset.datasets}
        if len(classes) == 1:
            return classes.pop()
        known = next((one for one in classes if _is_known(one)), None)
        if known:
            others = sorted(one.__qualname__ for one in classes - {known})
            raise InputError(
                f"from_pyg: {known.__name__} is concatenated with {', '.join(others)}, whose "
                "units differ; convert each, then StructureDataset.from_list([*a, *b])"
            )
    return type(dataset)


def _is_known(kind: type) -> bool:
    """Whether it is one of PyG's own classes, and not one of the same name."""
    return kind.__module__.startswith("torch_geometric.") and kind.__name__ in _KNOWN


def _values(data: Data, columns: Sequence[str], where: str) -> dict:
    values = data.to_dict()
    numbers = next((name for name in _NUMBERS if torch.is_tensor(values.get(name))), None)
    if numbers is None or not torch.is_tensor(values.get("pos")):
        raise InputError(f"{where}: has no z or no pos; it is no molecule")
    z = values.pop(numbers)
    if z.is_floating_point() and not torch.equal(z, z.round()):
        raise InputError(f"{where}: {numbers} must be whole atomic numbers, got {z.tolist()!s:.40}")
    values["z"] = z.long().reshape(-1)
    if columns:
        y = values.get("y")
        if not torch.is_tensor(y) or y.numel() != len(columns):
            raise InputError(f"{where}: y must have {len(columns)} columns, {', '.join(columns)}")
        twice = [name for name in columns if name in values]
        if twice:
            raise InputError(
                f"{where}: has {twice[0]!r} already; name that column of y differently in columns"
            )
        values |= {name: y.reshape(-1)[[k]].double() for k, name in enumerate(columns)}
    return values


def _further_labels(values: dict, readers: Iterable[LabelReader], where: str) -> dict[str, Tensor]:
    """Remove further labels from the values; those that are there, with their masks."""
    labels, atoms = {}, len(values["z"])
    for reader in readers:
        value = values.pop(reader.key, None)
        values.pop(reader.label.name, None)
        if value is None:
            continue
        try:
            per = reader.per(tuple(np.shape(value)), atoms)
            label = reader.read(value, atoms if per == "atom" else 1, per)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        labels[reader.label.name] = torch.from_numpy(label)
        labels[mask_name(reader.label.name)] = torch.ones(1, dtype=torch.bool)
    return labels


def _energy(values: dict, key: str | None, metadata: _Metadata, where: str) -> Tensor | None:
    if key is not None and key not in values:
        raise InputError(f"{where}: has no energy named {key!r}; it has {', '.join(values)}")
    value = values.get(key or metadata.energy)
    if value is None:
        return None
    tensor = torch.as_tensor(value, dtype=torch.float64)
    if tensor.numel() != 1:
        raise InputError(f"{where}: the energy must be one number, got shape {tuple(tensor.shape)}")
    return tensor.reshape(1)


def _forces(values: dict, key: str | None, where: str) -> Tensor | None:
    if key is not None and key not in values:
        raise InputError(f"{where}: has no forces named {key!r}; it has {', '.join(values)}")
    usual = next((name for name in _FORCES if values.get(name) is not None), None)
    return values.get(key or usual)


def _structure(
    values: dict, labels: dict, units: FileUnits, used: set, left_out: dict[str, int]
) -> Structure:
    length = units.factor("length")
    data = Structure(z=values["z"], pos=values["pos"] * length)
    if torch.is_tensor(values.get("cell")):
        data.cell = values["cell"].reshape(1, 3, 3) * length
        periodic = data.cell.any().expand(1, 3)
        data.pbc = torch.as_tensor(values.get("pbc", periodic)).reshape(1, 3).bool()
    for name, value in labels.items():
        if value is not None:
            data[name] = value * units.factor("energy" if name == "energy" else "force")
    for name, value in values.items():
        if name in {"z", "pos", "cell", "pbc", *_QUIET} or (name in used and name in labels):
            continue
        converted = _kept(name, value, len(data.z))
        if converted is not None:
            data[name] = converted
        elif name not in used:
            left_out[name] = left_out.get(name, 0) + 1
    return data


def _kept(name: str, value: Any, atoms: int) -> Tensor | str | None:
    """What a structure can have under this name."""
    try:
        check_name(name, "")
    except InputError:
        return None
    if isinstance(value, str):
        return value
    if name in PER_ATOM:
        per_atom = torch.is_tensor(value) and value.shape[:1] == (atoms,)
        return (value.long() if name == "tags" else value) if per_atom else None
    if isinstance(value, bool | int | float):
        return torch.tensor([value], dtype=torch.float64 if isinstance(value, float) else None)
    return value.reshape(1) if torch.is_tensor(value) and value.numel() == 1 else None
