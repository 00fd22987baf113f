import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from schnetgeo.data import Structure, from_ase, with_edges
from schnetgeo.data.gather import RowRanges
from schnetgeo.data.packed import StructureDataset
from schnetgeo.errors import InputError
from tests.structures import clusters, crystals, generators, random_cluster, random_crystal

CUTOFF = 3.0
EDGES = ("edge_index", "edge_reverse", "edge_shift", "edge_cutoff")


def labeled(atoms, index):
    data = from_ase(atoms)
    num_atoms = len(atoms)
    generator = torch.Generator().manual_seed(index)
    data.energy = torch.randn(1, generator=generator, dtype=torch.float64)
    data.forces = torch.randn(num_atoms, 3, generator=generator)
    data.stress = torch.randn(1, 3, 3, generator=generator, dtype=torch.float64)
    data.mol_index = torch.tensor([index])
    data.smiles = f"molecule {index}"
    return data


def structures(periodic, sizes=(5, 1, 9, 2, 7, 3)):
    rng = np.random.default_rng(0)
    make = random_crystal if periodic else random_cluster
    return [labeled(make(rng, size), index) for index, size in enumerate(sizes)]


def molecules():
    """Without cell and pbc, as .npz files of molecules give them."""
    found = structures(periodic=False)
    for data in found:
        del data.cell, data.pbc
    return found


def assert_equal_values(a, b):
    if torch.is_tensor(a):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    else:
        assert a == b


def assert_equal_data(a, b):
    assert set(a.keys()) == set(b.keys())
    for key in a.keys():
        assert_equal_values(a[key], b[key])


def assert_equal_batches(ours, theirs):
    assert_equal_data(ours, theirs)
    assert ours.num_graphs == theirs.num_graphs
    for name in ("_slice_dict", "_inc_dict"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert a.keys() == b.keys()
        for key in a:
            assert_equal_values(a[key], b[key])


@pytest.fixture(params=["compiled", "indexed"])
def gathered(request, monkeypatch):
    """Edges are copied by compiled loops on the CPU, and by indexing on other devices."""
    if request.param == "indexed":
        monkeypatch.setattr(RowRanges, "_compiled", RowRanges._indexed)


@pytest.mark.usefixtures("gathered")
@pytest.mark.parametrize("edges", [False, True])
@pytest.mark.parametrize("kind", ["molecules", "clusters", "crystals"])
def test_batch_is_that_of_pyg(kind, edges):
    parts = molecules() if kind == "molecules" else structures(kind == "crystals")
    dataset = StructureDataset.from_list(parts)
    if edges:
        dataset = dataset.with_edges(CUTOFF)
        parts = [with_edges(data, CUTOFF) for data in parts]
    chosen = [4, 0, 0, 2, 1]
    batch = dataset.batch(chosen)
    expected = [parts[i] for i in chosen]
    assert_equal_batches(batch, Batch.from_data_list(expected))
    for one, other in zip(batch.to_data_list(), expected, strict=True):
        assert_equal_data(one, other)
    for index, data in enumerate(parts):
        assert_equal_data(dataset[index], data)
    assert_equal_data(dataset[-1], parts[-1])


@pytest.mark.parametrize("kind", ["molecules", "crystals"])
def test_batches_are_made_where_the_data_are(kind):
    """A device without memory refuses all that would have to wait for another one."""
    parts = molecules() if kind == "molecules" else structures(periodic=True)
    dataset = StructureDataset.from_list(parts).with_edges(CUTOFF)[1:]
    batch, expected = dataset.to("meta").batch([3, 0, 3]), dataset.batch([3, 0, 3])
    assert batch.smiles == expected.smiles
    for key, value in expected.to_dict().items():
        if torch.is_tensor(value):
            found = batch[key]
            assert found.device.type == "meta"
            assert (found.dtype, found.shape) == (value.dtype, value.shape)
    assert torch.equal(batch._slice_dict["edge_index"], expected._slice_dict["edge_index"])
    assert dataset.to("meta").get_property("pos").device.type == "meta"
    assert_equal_batches(dataset.to("cpu").batch([2, 0]), dataset.batch([2, 0]))
    assert dataset.packed.pos.device.type == "cpu"


@given(st.lists(clusters(8) | crystals(4), min_size=1, max_size=6), generators())
@settings(max_examples=25, deadline=None)
def test_any_sizes_and_any_choice(atoms, rng):
    parts = [labeled(a, index) for index, a in enumerate(atoms)]
    dataset = StructureDataset.from_list(parts).with_edges(CUTOFF)
    chosen = rng.integers(len(parts), size=rng.integers(1, 8)).tolist()
    expected = Batch.from_data_list([with_edges(parts[i], CUTOFF) for i in chosen])
    assert_equal_batches(dataset.batch(chosen), expected)


@pytest.mark.parametrize("edges", [False, True])
def test_pyg_loader(edges):
    parts = structures(periodic=True)
    dataset = StructureDataset.from_list(parts)
    if edges:
        dataset, parts = dataset.with_edges(CUTOFF), [with_edges(d, CUTOFF) for d in parts]
    batches = list(DataLoader(dataset, batch_size=4))
    assert [b.num_graphs for b in batches] == [4, 2]
    assert_equal_batches(batches[1], Batch.from_data_list(parts[4:]))


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        (slice(1, 5, 2), [1, 3]),
        ([4, 0, 4], [4, 0, 4]),
        (torch.tensor([2, -1]), [2, 5]),
        (np.array([3, 1]), [3, 1]),
        (torch.tensor([True, False, False, True, False, True]), [0, 3, 5]),
        (np.array([False, True, False, False, True, False]), [1, 4]),
    ],
)
def test_subsets(key, rows):
    parts = structures(periodic=False)
    dataset = StructureDataset.from_list(parts)
    subset = dataset[key]
    assert len(subset) == len(rows)
    assert subset.packed.pos.data_ptr() == dataset.packed.pos.data_ptr()
    assert subset.num_atoms.tolist() == [parts[i].z.numel() for i in rows]
    assert subset.get_property("mol_index").tolist() == rows
    assert torch.equal(subset.get_property("pos"), torch.cat([parts[i].pos for i in rows]))
    for index, row in enumerate(rows):
        assert_equal_data(subset[index], parts[row])
    assert_equal_batches(
        subset.batch([1, 0]), Batch.from_data_list([parts[i] for i in rows[1::-1]])
    )
    assert subset[1:].get_property("mol_index").tolist() == rows[1:]


def test_subsets_of_subsets():
    dataset = StructureDataset.from_list(structures(periodic=False))
    for subset, rows in [
        (dataset[1::2][::-1], [5, 3, 1]),
        (dataset[1::2][[2, 0]], [5, 1]),
        (dataset[[4, 0, 2]][1:], [0, 2]),
        (dataset[[4, 0, 2]][[-1, 0]], [2, 4]),
        (dataset[2:][np.array([False, True, True, False])], [3, 4]),
        (dataset[torch.empty(0, dtype=torch.long)], []),
        (dataset.shuffle(return_perm=True)[0].shuffle()[:0], []),
    ]:
        assert subset.get_property("mol_index").tolist() == rows
        assert subset.batch(range(len(rows))).mol_index.tolist() == rows


def test_positions_count_from_the_end_where_negative():
    dataset = StructureDataset.from_list(structures(periodic=False), name="own data")
    assert dataset.batch([-2, 0, -1]).mol_index.tolist() == [4, 0, 5]
    assert dataset[1:3].batch([-1]).mol_index.tolist() == [2]
    for wrong in ([6], [-7], [0.5], [True, False]):
        with pytest.raises(IndexError, match="own data: positions must be integers below 6, the"):
            dataset.batch(wrong)


def test_fingerprint_tells_structures_and_labels_and_their_order():
    dataset = StructureDataset.from_list(structures(periodic=True))
    again = StructureDataset.from_list(structures(periodic=True))
    assert dataset.fingerprint == again.fingerprint == dataset.with_edges(CUTOFF).fingerprint
    others = [dataset[:5], dataset[[1, 0, 2, 3, 4, 5]], dataset[[0, 0, 2, 3, 4, 5]], dataset[:0]]
    for field in ("pos", "energy", "forces", "cell", "stress"):
        others.append(StructureDataset.from_list(structures(periodic=True)))
        others[-1].packed[field].view(-1)[-1] += 1e-6
    found = {other.fingerprint for other in others}
    assert len(found) == len(others)
    assert dataset.fingerprint not in found


def test_blocks_are_the_same_structures_in_order():
    dataset = StructureDataset.from_list(structures(periodic=False))[[3, 1, 4, 0, 5]]
    blocks = list(dataset.iter_chunks(2))
    assert [len(block) for block in blocks] == [2, 2, 1]
    assert torch.cat([block.get_property("mol_index") for block in blocks]).tolist() == [
        3,
        1,
        4,
        0,
        5,
    ]


@pytest.mark.parametrize("periodic", [False, True])
def test_edges_of_subset(periodic):
    dataset = StructureDataset.from_list(structures(periodic))
    subset = dataset[[5, 1, 3]]
    built = subset.with_edges(CUTOFF)
    assert built.packed.z.numel() == int(subset.num_atoms.sum())  # it holds nothing else
    for choice in ([0, 1, 2], [2, 0]):
        expected = with_edges(subset.batch(choice), CUTOFF)
        for name in EDGES:
            assert torch.equal(built.batch(choice)[name], expected[name]), name
            assert name == "edge_cutoff" or built.batch(choice)[name].dtype == torch.int64
            assert built.batch(choice)[name].is_contiguous()
    assert not dataset.has_property("edge_index")


@pytest.mark.parametrize("other", [2.0, 4.0])
def test_edges_are_built_again_for_another_cutoff(other):
    dataset = StructureDataset.from_list(structures(periodic=True))
    again = dataset.with_edges(CUTOFF).with_edges(other)
    assert_equal_batches(again.batch(range(6)), dataset.with_edges(other).batch(range(6)))


def test_edges_across_more_cells_than_are_counted(monkeypatch):
    parts = structures(periodic=True)
    parts[3].pos = parts[3].pos + 2**15 * parts[3].cell[0, :1] * torch.tensor([[1.0], [0.0]])
    dataset = StructureDataset.from_list(parts, name="own data")
    monkeypatch.setattr("schnetgeo.data.packed._BLOCK", 2)
    with pytest.raises(InputError, match=r"own data, structure 3: an edge crosses the cell \["):
        dataset.with_edges(CUTOFF)


def test_structures_without_any_edge():
    rng = np.random.default_rng(1)
    parts = [labeled(random_cluster(rng, size), size) for size in (1, 4, 1)]
    for order in ([0], [0, 2], [1, 0, 2]):
        dataset = StructureDataset.from_list([parts[i] for i in order]).with_edges(CUTOFF)
        expected = Batch.from_data_list([with_edges(parts[i], CUTOFF) for i in order])
        assert_equal_batches(dataset.batch(range(len(order))), expected)
    assert dataset.batch([1]).edge_index.shape == (2, 0)


def test_edges_are_built_in_blocks(monkeypatch):
    dataset = StructureDataset.from_list(structures(periodic=True))
    whole = dataset.with_edges(CUTOFF).batch(range(6))
    monkeypatch.setattr("schnetgeo.data.packed._BLOCK", 2)
    assert_equal_batches(dataset.with_edges(CUTOFF).batch(range(6)), whole)


def test_strings_and_scalars_survive():
    dataset = StructureDataset.from_list(structures(periodic=False))
    assert dataset.get_property("smiles") == [f"molecule {i}" for i in range(6)]
    assert dataset[3].smiles == "molecule 3"
    assert dataset.batch([5, 2]).smiles == ["molecule 5", "molecule 2"]
    assert dataset.batch([5, 2]).mol_index.tolist() == [5, 2]
    assert dataset.has_property("smiles")
    assert not dataset.has_property("dipole")


def test_batches_own_their_memory():
    dataset = StructureDataset.from_list(structures(periodic=False))
    before = dataset[0].pos.clone()
    dataset.batch([0, 1]).pos.zero_()
    assert torch.equal(dataset[0].pos, before)


@pytest.mark.slow
def test_attributes_have_one_order_in_every_process():
    code = """
from ase.build import bulk
from schnetgeo.data import from_ase
from schnetgeo.data.packed import StructureDataset
item = from_ase(bulk("Cu"))
for name in ("gap", "spin", "dipole", "charge", "volume"):
    item[name] = item.pos.new_ones(1)
dataset = StructureDataset.from_list([item] * 3).with_edges(3.0)
print(dataset[0].keys(), dataset.batch([0, 1]).keys(), dataset.packed.keys())
"""
    orders = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(2)
    }
    assert len(orders) == 1


def test_travels_to_other_processes():
    dataset = StructureDataset.from_list(structures(periodic=True)).with_edges(CUTOFF)[1:4]
    copy = pickle.loads(pickle.dumps(dataset))
    assert_equal_batches(copy.batch([0, 2]), dataset.batch([0, 2]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d.update({"energy": d["energy"][0]}),
            r"2: energy must have 1 rows, one for each structure, got shape \(\)",
        ),
        (lambda d: d.update({"pos": d["pos"][:, :2]}), r"2: pos has shape \(9, 2\), but \("),
        (
            lambda d: d.update({"forces": d["forces"][1:]}),
            r"2: forces must have 9 rows, one for each atom, got .*\(8, 3\)",
        ),
        (lambda d: d.update({"mol_index": 2}), "2: mol_index is a int; give a tensor or text"),
        (lambda d: d["forces"][4].fill_(torch.nan), r"2: forces\[4, 0\] is nan, but must be fin"),
        (lambda d: d["z"].fill_(0), r"2: z\[0\] = 0 is not an atomic number"),
    ],
)
def test_refuses_structures_that_differ(change, message):
    parts = structures(periodic=False)
    change(parts[2]._store)
    with pytest.raises(InputError, match=message):
        StructureDataset.from_list(parts, name="own data")


def test_numbers_structures_over_all_blocks(monkeypatch):
    monkeypatch.setattr(StructureDataset.iter_chunks, "__defaults__", (2,))
    parts = structures(periodic=False)
    parts[5].pos[1] = parts[5].pos[2]
    with pytest.raises(InputError, match="own data, structure 5: atoms 1 and 2 are in one place"):
        StructureDataset.from_list(parts, name="own data")


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        ("mu", "6 rows, one for each structure, got 5"),
        ("tags", "27 rows, one for each atom, got 5"),
    ],
)
def test_refuses_other_numbers_of_rows(key, rows):
    packed = StructureDataset.from_list(structures(periodic=False))
    packed.packed[key] = torch.ones(5)
    with pytest.raises(InputError, match=f"own data: {key} must have {rows}"):
        StructureDataset(packed.packed, packed.num_atoms, "own data")


def test_refuses_what_it_cannot_pack():
    parts = structures(periodic=False)
    with pytest.raises(InputError, match="own data: holds no structures"):
        StructureDataset.from_list([], name="own data")
    with pytest.raises(InputError, match="structure 0: has 'edge_index' already"):
        StructureDataset.from_list([with_edges(data, CUTOFF) for data in parts])
    for data in parts:
        data.features = torch.ones(data.z.numel() + 1, 4)
    with pytest.raises(InputError, match="0: features must have 1 rows, one for each structure"):
        StructureDataset.from_list(parts)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16])
def test_atomic_numbers_of_small_types(dtype):
    """As files have them: a model looks elements up by int64."""
    data = Structure(z=torch.tensor([8, 1], dtype=dtype), pos=torch.eye(2, 3))
    packed = StructureDataset.from_list([data, data])
    assert packed.batch([0, 1]).z.dtype == torch.int64
    assert data.z.dtype == dtype


@pytest.mark.parametrize("value", [torch.tensor(1.0), 3.0])
def test_an_attribute_of_no_rows_is_refused(value):
    dataset = molecules()
    packed, sizes = StructureDataset.from_list(dataset).materialize()
    packed.temperature = value
    with pytest.raises(InputError, match="own: temperature must have .* rows, one for each struct"):
        StructureDataset(packed, sizes, "own")
