"""Attributes of a data set read as labels of targets."""

import copy
from collections.abc import Iterable

import torch

from schnetgeo.data.further_labels import LabelReader
from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.structure import GRAPH, Structure, mask_name
from schnetgeo.errors import InputError


def with_labels(dataset: StructureDataset, readers: Iterable[LabelReader]) -> StructureDataset:
    """The same structures with labels of further targets, in the units of these.

    What is such a label already stays where it is, on disk too; others are read into memory.

    Args:
        dataset: a data set, such as a store.
        readers: of the labels, whose keys are attributes.

    Raises:
        InputError: names the data set and the label that is not there, has another shape, or no
            unit.
    """
    fields, labels, changed = dataset.packed.to_dict(), {}, {}
    for reader in readers:
        name, key = reader.label.name, reader.key
        if key not in fields:
            raise InputError(
                f"{dataset.name}: has no {name} named {key!r}; it has {', '.join(sorted(fields))}"
            )
        before = next((target for target in dataset.labels if target.name == key), None)
        per = "atom" if dataset.is_per_atom(key) else "structure"
        try:
            values = reader.read(fields[key], len(fields[key]), per, before and before.unit)
        except InputError as error:
            raise InputError(f"{dataset.name}: {error}") from None
        labels[name] = reader.target
        if key != name or reader.target != before:
            changed[name] = torch.from_numpy(values)
            present = torch.ones(dataset.len(), dtype=torch.bool)
            changed[mask_name(name)] = fields.get(mask_name(key), present)
    out = copy.copy(dataset)
    if changed:
        order = dataset.indices()
        packed = Structure(**{k: v for k, v in fields.items() if k not in GRAPH} | changed)
        out = StructureDataset(packed, dataset.packed.ptr.diff(), dataset.name)[order]
    others = {target.name: target for target in dataset.labels}
    out.labels = tuple((others | labels).values())
    return out
