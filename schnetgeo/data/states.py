"""Charges and spins that structures state, for models that do not read them."""

from collections import defaultdict

import torch
from torch import Tensor
from torch_geometric.data import Data

from schnetgeo.data.copies import differing_copies, geometry_hashes
from schnetgeo.data.packed import StructureDataset
from schnetgeo.errors import InputError
from schnetgeo.notes import note

_REMEDY = (
    "train on one charge and spin at a time, or give the model "
    "state_embedding=schnetgeo.nn.StateEmbedding"
)
_USUAL = {"charge": (0,), "spin": (0, 1)}  # of closed shells; as a sum, or as the multiplicity


def note_states(data: Data, model: str) -> bool:
    """Note that a model of this name does not read a charge or spin; whether there was one."""
    stated = [_unusual(name, data.get(name)) for name in _USUAL]
    if any(stated):
        note(
            f"structure: {_listed(stated)} {_are(stated)} no input of {model}, whose energy is "
            "that of the charges and spins it was trained on; use a potential of that state alone"
        )
    return any(stated)


def note_states_of(dataset: StructureDataset, model: str) -> bool:
    """The same for training structures.

    Raises:
        InputError: for geometries that have several energies, by their charge or spin.
    """
    stated = [_unusual(k, dataset.get_property(k)) for k in _USUAL if dataset.has_property(k)]
    if any(stated):
        number, states = (
            _ambiguous(dataset),
            f"{_listed(stated)} {_are(stated)} no input of {model}",
        )
        if number:
            raise InputError(
                f"{dataset.name}: {states}, but geometries, {number:,} of them, have several "
                f"energies; {_REMEDY}"
            )
        note(
            f"{dataset.name}: {states}, which gives one energy to structures that differ in "
            f"nothing else; {_REMEDY}"
        )
    return any(stated)


def note_differing_copies(dataset: StructureDataset) -> None:
    """Note that structures are alike, in charge and spin too, and have different energies."""
    copies = differing_copies(dataset)
    if copies:
        note(
            f"{dataset.name}: {len(copies):,} geometries have several energies, such as structures "
            f"{' and '.join(map(str, copies[0][:2]))}, of which a model learns the mean; keep one "
            "of each, or state the charge and spin that differ"
        )


def _unusual(name: str, value: object) -> str | None:
    """Such as "charge -1, 1"; not looked at on a GPU, which would have to be waited for."""
    if not torch.is_tensor(value) or value.device.type != "cpu":
        return None
    others = [v for v in _distinct(value) if v not in _USUAL[name]]
    shown = ", ".join(f"{v:g}" for v in others[:5]) + (", …" if len(others) > 5 else "")
    return f"{name} {shown}" if others else None


def _distinct(value: Tensor) -> list:
    return value.unique().tolist() if value.numel() > 1 else value.flatten().tolist()


def _listed(stated: list[str | None]) -> str:
    return " and ".join(filter(None, stated))


def _are(stated: list[str | None]) -> str:
    return "are" if all(stated) and len(stated) > 1 else "is"


def _ambiguous(dataset: StructureDataset) -> int:
    """Geometries with energies that differ, which no function of the geometry gives."""
    energies = defaultdict(set)
    if dataset.has_property("energy"):
        part = dataset[dataset.mask("energy")]
        for mark, energy in zip(
            geometry_hashes(part), part.get_property("energy").tolist(), strict=True
        ):
            energies[mark].add(energy)
    return sum(len(values) > 1 for values in energies.values())
