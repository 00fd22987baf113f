"""Data set objects of PyTorch Geometric, converted."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo import units
from schnetgeo.data.packed import PackedDataset
from schnetgeo.data.structure import Structure
from schnetgeo.errors import InputError

QM9_COLUMNS = (
    "mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "U0", "U", "H", "G", "Cv",
    "U0_atom", "U_atom", "H_atom", "G_atom", "A", "B", "C",
)  # fmt: skip


class _Facts(NamedTuple):
    """What PyG's documentation says of a data set and its objects do not."""

    energy: str
    energy_unit: str
    force_unit: str | None = None
    columns: Sequence[str] = ()


_KNOWN = {
    "MD17": _Facts("energy", "kcal/mol", "kcal/mol/Angstrom"),
    "QM9": _Facts("U0", "eV", columns=QM9_COLUMNS),
}


def from_pyg(
    dataset: Iterable[Data],
    energy: str | None = None,
    forces: str | None = None,
    energy_unit: str | None = None,
    force_unit: str | None = None,
    length_unit: str = "Angstrom",
    columns: Sequence[str] | None = None,
) -> PackedDataset:
    """A data set object of PyG in eV and Å.

    Kept are `z`, `pos`, `cell`, `pbc`, the labels, the named columns of `y` and strings. Edges and
    features are left out. What PyG has rounded to float32 stays rounded: 0.03 kcal/mol for MD17's
    aspirin; read the published file with `MD17` or `QM9` to have it all.

    Args:
        dataset: such as `torch_geometric.datasets.QM9`, of which all else is known, a part of it,
            or any objects with `z` and `pos`.
        energy: attribute that is the energy, or column of `y`; `None` is `energy` if there is one.
        forces: attribute that is the forces; `None` is `force` or `forces` if there is one.
        energy_unit: unit of the energy; PyG's objects state none.
        force_unit: likewise.
        length_unit: of positions and cells.
        columns: names of the columns of `y`, which become attributes in their own unit.

    Raises:
        InputError: if there are no structures, no positions, or a unit is not known.
    """
    facts = _KNOWN.get(type(dataset).__name__, _Facts("energy", ""))
    columns = facts.columns if columns is None else columns
    structures = []
    for index, data in enumerate(dataset):
        where = f"{type(dataset).__name__}, structure {index}"
        values = _values(data, columns, where)
        labels = {
            "energy": (_energy(values, energy, facts, where), energy_unit or facts.energy_unit),
            "forces": (_forces(values, forces, where), force_unit or facts.force_unit),
        }
        structures.append(_structure(values, labels, length_unit, columns, where))
    return PackedDataset.from_list(structures, type(dataset).__name__)


def _values(data: Data, columns: Sequence[str], where: str) -> dict:
    values = data.to_dict()
    if not torch.is_tensor(values.get("z")) or not torch.is_tensor(values.get("pos")):
        raise InputError(f"{where}: has no z or no pos; it is no molecule")
    if columns:
        y = values.get("y")
        if not torch.is_tensor(y) or y.numel() != len(columns):
            raise InputError(f"{where}: y must have {len(columns)} columns, {', '.join(columns)}")
        values |= {name: y.reshape(-1)[[k]].double() for k, name in enumerate(columns)}
    return values


def _energy(values: dict, key: str | None, facts: _Facts, where: str) -> Tensor | None:
    if key is not None and key not in values:
        raise InputError(f"{where}: has no energy named {key!r}; it has {', '.join(values)}")
    value = values.get(key or facts.energy)
    return None if value is None else torch.as_tensor(value).double().reshape(1)


def _forces(values: dict, key: str | None, where: str) -> Tensor | None:
    if key is not None and key not in values:
        raise InputError(f"{where}: has no forces named {key!r}; it has {', '.join(values)}")
    usual = next((name for name in ("force", "forces") if name in values), None)
    return values.get(key or usual)


def _structure(
    values: dict, labels: dict, length_unit: str, columns: Sequence[str], where: str
) -> Structure:
    length = units.length(length_unit)
    data = Structure(z=values["z"].long(), pos=values["pos"] * length)
    if torch.is_tensor(values.get("cell")):
        data.cell = values["cell"].reshape(1, 3, 3) * length
        periodic = torch.ones(1, 3, dtype=torch.bool)
        data.pbc = torch.as_tensor(values.get("pbc", periodic)).reshape(1, 3).bool()
    for name, (value, unit) in labels.items():
        if value is None:
            continue
        option = "energy_unit" if name == "energy" else "force_unit"
        if not unit:
            raise InputError(f"{where}: does not state the unit of its {name}; give {option}")
        data[name] = value * (units.energy if name == "energy" else units.force)(unit)
    for name, value in values.items():
        if name in columns or isinstance(value, str):
            data[name] = value
    return data
