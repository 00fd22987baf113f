"""What the classes of published data sets say of themselves."""

import pickle
from inspect import signature

import pytest
import torch

from schnetgeo.data.packed import StructureDataset
from schnetgeo.data.store_writer import write_on_disk
from schnetgeo.datasets import Demo
from schnetgeo.datasets.published_dataset import PublishedDataset
from schnetgeo.datasets.sets import SETS, __all__, set_by_name
from schnetgeo.errors import InputError
from schnetgeo.train.checks import check_stores

NAMES = [kind.__name__ for kind in SETS]


@pytest.mark.parametrize("kind", SETS, ids=NAMES)
def test_what_a_set_says_of_itself(kind):
    parameters = signature(kind).parameters
    assert set(kind.arguments().values()) | set(kind.all_parts) <= set(parameters)
    assert ("split" in parameters) == bool(kind.splits)
    assert kind.__doc__
    assert not kind.__subclasses__()
    if kind.source is None:
        assert "root" not in parameters
        return
    assert kind.source.name == kind.__name__
    assert {"root", "file"} <= set(parameters)
    assert kind.published()
    if "molecule" in parameters:
        assert parameters["molecule"].default in kind.source.files


def test_all_are_public_and_have_names_of_their_own():
    assert sorted(NAMES) == sorted(__all__)
    assert len(set(NAMES)) == len(NAMES)
    assert set_by_name("Demo") is Demo
    with pytest.raises(InputError, match="unknown data set 'Demos'; known: QM9, MD17, "):
        set_by_name("Demos")


@pytest.fixture(params=["in memory", "on disk"])
def published(request, tmp_path):
    """Twenty frames as a published set, and the same as a plain one."""
    plain = Demo("ethanol").stored[:20]
    on_disk = request.param == "on disk"
    stored = write_on_disk(tmp_path / "a", [plain]) if on_disk else StructureDataset(
        *plain.materialize()
    )  # fmt: skip
    dataset = PublishedDataset(stored, "twenty frames")
    dataset.max_train = 7
    assert dataset.in_memory != on_disk
    return dataset, plain


def test_where_structures_are_stored_makes_no_difference(published):
    dataset, plain = published
    for ours, theirs in (
        (dataset, plain),
        (dataset[[5, 3]].with_edges(4.0), plain[[5, 3]].with_edges(4.0)),
        (dataset.with_edges(4.0)[2:4], plain.with_edges(4.0)[2:4]),
        (pickle.loads(pickle.dumps(dataset[4:9])), plain[4:9]),
    ):
        assert (ours.name, ours.max_train, len(ours)) == ("twenty frames", 7, len(theirs))
        a, b = ours.batch(range(len(ours))), theirs.batch(range(len(ours)))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in b.keys() if torch.is_tensor(b[key]))


def test_stores_are_checked_before_a_training(published):
    dataset, _ = published
    check_stores(dataset[:3], dataset[3:])
    assert (dataset.path is None) == dataset.in_memory
    if dataset.path:
        energies = next(path for path in dataset.path.iterdir() if path.name.startswith("energy"))
        content = bytearray(energies.read_bytes())
        content[0] ^= 1
        energies.write_bytes(content)
        with pytest.raises(InputError, match="energy"):
            check_stores(dataset[:3], dataset[3:])
