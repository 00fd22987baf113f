import zipfile

import ase.io
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import schnetgeo as sg
from schnetgeo.data.make_split import is_trajectory, make_split, split_warning
from schnetgeo.data.split import Split
from schnetgeo.data.split_methods import block_split, group_split, k_fold, random_split
from schnetgeo.datasets import AtomsFile, Demo
from schnetgeo.datasets.npz import read_npz
from schnetgeo.errors import InputError
from tests.shared_data import shared


@given(st.integers(1, 60), st.data())
def test_parts_are_disjoint_and_of_the_sizes_asked(size, data):
    num_train = data.draw(st.integers(1, size))
    num_val = data.draw(st.integers(0, size - num_train))
    rest = size - num_train - num_val
    num_test = data.draw(st.none() | st.integers(0, rest))
    split = random_split(size, num_train, num_val, num_test, seed=7)
    assert [len(part) for part in split] == [
        num_train,
        num_val,
        rest if num_test is None else num_test,
    ]
    taken = torch.cat(split)
    assert taken.dtype == torch.int64
    assert len(taken.unique()) == len(taken)
    assert taken.min() >= 0
    assert taken.max() < size


def test_same_seed_same_split():
    one = random_split(100, 60, 20, seed=3)
    assert all(
        torch.equal(a, b) for a, b in zip(one, random_split(100, 60, 20, seed=3), strict=True)
    )
    assert not torch.equal(one.train, random_split(100, 60, 20, seed=4).train)


def test_same_split_on_every_machine():
    split = random_split(10, 4, 3, seed=0)
    assert [part.tolist() for part in split] == [[4, 6, 2, 7], [3, 5, 9], [0, 8, 1]]


def test_more_training_data_keep_the_old():
    few, many = random_split(100, 20, 10), random_split(100, 50, 10)
    assert torch.equal(many.train[:20], few.train)


def test_save_and_load(tmp_path):
    split = random_split(50, 30, 10, 5)
    split.save(tmp_path / "split.npz")
    loaded = Split.load(tmp_path / "split.npz")
    assert all(torch.equal(a, b) for a, b in zip(split, loaded, strict=True))
    assert [path.name for path in tmp_path.iterdir()] == ["split.npz"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((8, 3, None), "cannot split 10 structures into num_train=8, num_val=3; give whole"),
        ((6, 3, 2), "num_train=6, num_val=3, num_test=2; .* add up to at most 10"),
        ((0, 3, None), "num_train=0, .* num_train at least 1"),
        ((3, -1, None), "num_val=-1"),
        ((3, 3, -1), "num_test=-1; .* none negative"),
    ],
)
def test_refuses(asked, message):
    with pytest.raises(InputError, match=message):
        random_split(10, *asked)


def test_a_resumed_training_keeps_its_split(tmp_path):
    path = tmp_path / "split.npz"
    random_split(20, 10, 5, seed=0).save_or_verify(path, resume=False)
    random_split(20, 10, 5, seed=0).save_or_verify(path, resume=True)
    with pytest.raises(InputError, match="begun with another split"):
        random_split(20, 10, 5, seed=1).save_or_verify(path, resume=True)
    assert torch.equal(Split.load(path).test, random_split(20, 10, 5, seed=0).test)


def grouped(sizes):
    """Group names, shuffled, and how many structures each group has."""
    rng = np.random.default_rng(0)
    return rng.permutation(np.repeat([f"molecule {k}" for k in range(len(sizes))], sizes))


def assert_no_group_in_two_parts(groups, split):
    found = [set(groups[part.numpy()].tolist()) for part in split]
    assert not found[0] & found[1]
    assert not found[0] & found[2]
    assert not found[1] & found[2]


@given(st.lists(st.integers(1, 9), min_size=3, max_size=30), st.data())
def test_groups_stay_whole(sizes, data):
    groups = grouped(sizes)
    num_train = data.draw(st.integers(1, len(groups)))
    num_val = data.draw(st.integers(0, len(groups) - num_train))
    num_test = data.draw(st.none() | st.integers(0, len(groups) - num_train - num_val))
    try:
        split = group_split(groups, num_train, num_val, num_test, seed=5)
    except InputError:
        # each part but the last may lose all but one structure of its last group
        assert num_train + num_val + (num_test or 0) > len(groups) - 2 * (max(sizes) - 1)
        return
    assert_no_group_in_two_parts(groups, split)
    assert [len(part) for part in split][:2] == [num_train, num_val]
    assert num_test is None or len(split.test) == num_test
    assert all(len(part.unique()) == len(part) for part in split)
    split.check(len(groups))


def test_groups_of_tensors_and_all_that_remain():
    groups = torch.arange(60) // 10
    split = group_split(groups, 20, 10)
    assert [len(part) for part in split] == [20, 10, 30]
    assert_no_group_in_two_parts(groups.numpy(), split)
    assert split.digest == group_split(groups.tolist(), 20, 10).digest
    assert split.digest != group_split(groups, 20, 10, seed=1).digest
    order = group_split(groups, 60, 0).train
    assert (groups[order].diff() != 0).sum() == 5  # one group after the other


def test_too_few_groups():
    with pytest.raises(InputError, match="2 groups of up to 5 structures cannot .* num_val=1, num"):
        group_split([0] * 5 + [1] * 5, 6, 1)
    with pytest.raises(InputError, match="cannot split 10 structures"):
        group_split([0] * 5 + [1] * 5, 11, 0)


@given(st.integers(20, 300), st.integers(1, 12), st.data())
def test_blocks_keep_stretches_apart(size, num_blocks, data):
    num_train, num_val = data.draw(st.integers(1, size // 2)), data.draw(st.integers(0, size // 4))
    num_test = data.draw(st.none() | st.integers(0, size // 5))
    taken = sum(
        -(-n // (size // num_blocks)) for n in (num_val, 1 if num_test is None else num_test)
    )
    if taken >= num_blocks or num_train > (num_blocks - taken) * (size // num_blocks):
        return
    split = block_split(size, num_train, num_val, num_test, 3, num_blocks)
    block = np.arange(size) * num_blocks // size
    assert_no_group_in_two_parts(block, split)
    assert [len(part) for part in split][:2] == [num_train, num_val]
    assert len(split.test) == num_test if num_test is not None else len(split.test) > 0
    split.check(size)


def test_blocks_of_a_trajectory():
    split = block_split(1000, 700, 50)
    assert [len(part) for part in split] == [700, 50, 100]
    assert set((split.train // 100).tolist()) == set(range(10)) - set(
        (torch.cat([split.val, split.test]) // 100).tolist()
    )
    assert split.digest == block_split(1000, 700, 50).digest
    with pytest.raises(InputError, match="10 stretches of 100 frames: 1 and 1 of them .* 800 fr"):
        block_split(1000, 801, 50)
    with pytest.raises(InputError, match="cannot cut 5 frames into num_blocks=10 stretches"):
        block_split(5, 1, 1)


@pytest.mark.parametrize("groups", [None, grouped([4, 1, 3, 2, 5, 5])])
def test_folds(groups):
    splits = k_fold(20, 4, groups=groups)
    assert sorted(torch.cat([split.test for split in splits]).tolist()) == list(range(20))
    assert sorted(torch.cat([split.val for split in splits]).tolist()) == list(range(20))
    for split in splits:
        assert len(torch.cat(split)) == 20
        split.check(20)
        if groups is not None:
            assert_no_group_in_two_parts(groups, split)
    assert k_fold(20, 4, seed=1)[0].digest != splits[0].digest


@pytest.mark.parametrize(("folds", "groups"), [(2, None), (21, None), (4, [0, 1] * 10), (3, [1])])
def test_folds_that_cannot_be(folds, groups):
    with pytest.raises(InputError, match=f"cannot make num_folds={folds} of"):
        k_fold(20, folds, groups=groups)


def test_digest_tells_parts_and_order():
    one = Split(torch.tensor([0, 1]), torch.tensor([2]), torch.tensor([3]))
    assert one.digest == "ca7f9b3cf6a2"
    assert one.digest == Split(*(part.int() for part in one)).digest
    assert one.digest != Split(one.train.flip(0), one.val, one.test).digest
    assert one.digest != Split(torch.tensor([0, 1, 2]), torch.tensor([]).long(), one.test).digest


def test_files(tmp_path):
    np.savez(tmp_path / "spk.npz", train_idx=[4, 2], val_idx=[1], test_idx=np.array([0, 3]))
    split = Split.load(tmp_path / "spk.npz").check(5)
    assert [part.tolist() for part in split] == [[4, 2], [1], [0, 3]]
    np.savez(tmp_path / "train.npz", train=[4, 2])
    assert [len(part) for part in Split.load(tmp_path / "train.npz").check(5)] == [2, 0, 0]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (dict(train=[0, 5]), "f.npz: index 5 is not below 5, the number of structures; indices"),
        (dict(train=[0, -1]), "f.npz: index -1 is not below 5"),
        (dict(train=[0, 1], test=[1]), "f.npz: structure 1 is listed more than once, so it could"),
        (dict(test=[1]), "f.npz: a split has arrays of indices train, val and test, .* has test"),
        (dict(train=[0.5]), "f.npz: a split has arrays of indices"),
        (dict(train=np.empty(0, int), test=[1]), "f.npz: there is nothing to train on"),
        (dict(train=[0, 1], digest="0123456789ab"), "f.npz: its digest is that of another split"),
    ],
)
def test_refuses_files(tmp_path, arrays, message):
    np.savez(tmp_path / "f.npz", **arrays)
    with pytest.raises(InputError, match=message):
        make_split(str(tmp_path / "f.npz"), Demo("ethanol")[:5], 1, 1)


def test_refuses_what_is_no_split(tmp_path):
    (tmp_path / "f.npz").write_text("hello")
    with pytest.raises(InputError, match="f.npz: cannot be read as a split"):
        Split.load(tmp_path / "f.npz")


def test_words_of_the_shell(tmp_path):
    dataset = Demo("ethanol")[:100]
    dataset.packed.origin = torch.arange(dataset.len()) // 10
    numbers = 40, 20, None, 7
    expected = {
        "random": random_split(100, *numbers),
        "blocks": block_split(100, *numbers),
        "group:origin": group_split(torch.arange(100) // 10, *numbers),
    }
    for how, split in expected.items():
        assert make_split(how, dataset, *numbers).digest == split.digest
        split.save(tmp_path / "split.npz")
        assert make_split(str(tmp_path / "split.npz"), dataset, 1, 1).digest == split.digest
    with pytest.raises(InputError, match=r"has no 'mol' to group by; it has energy, origin"):
        make_split("group:mol", dataset, *numbers)
    with pytest.raises(InputError, match="split 'time' is no file and none of random, blocks, gr"):
        make_split("time", dataset, *numbers)


def test_a_trajectory_split_at_random_says_so():
    frames = Demo("ethanol")
    assert is_trajectory(frames)
    assert "the errors are those of interpolation" in split_warning("random", frames)
    assert split_warning("blocks", frames) is None
    assert not is_trajectory(frames[torch.randperm(len(frames))])
    assert not is_trajectory(Demo("molecules"))
    assert not is_trajectory(frames[:2])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("md17_ethanol_trajectory", True), ("md17_ethanol", False), ("rmd17_aspirin", False)],
)
def test_published_trajectories(name, expected):
    assert is_trajectory(read_npz(shared(f"{name}.npz"))) == expected


@pytest.mark.parametrize("content", [b"", b"x", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_files_that_are_no_splits(tmp_path, content):
    path = tmp_path / "split.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="split.npz: cannot be read as a split"):
        Split.load(path)


def test_an_array_is_no_split(tmp_path):
    np.save(tmp_path / "split.npy", np.arange(3))
    with pytest.raises(InputError, match="split.npy: cannot be read as a split"):
        Split.load(tmp_path / "split.npy")
    np.savez(tmp_path / "large.npz", train=np.array([2**63], np.uint64))
    with pytest.raises(InputError, match="large.npz: indices of a split are below"):
        Split.load(tmp_path / "large.npz")


def test_a_member_that_is_no_array(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("train", b"text")
    with pytest.raises(InputError, match="a split has arrays of indices"):
        Split.load(tmp_path / "a.npz")


def test_structures_of_a_file_stay_together(tmp_path):
    numbers = (5, 3, 4, 6)
    frames = [sg.to_ase(data) for data in Demo("ethanol")[: sum(numbers)]]
    file_of = np.repeat(range(4), numbers)
    for k in range(4):
        chosen = [atoms for atoms, file in zip(frames, file_of, strict=True) if file == k]
        ase.io.write(tmp_path / f"{k}.xyz", chosen, format="extxyz")
    data = AtomsFile([tmp_path / f"{k}.xyz" for k in range(4)])
    for part, order in ((data, range(18)), (data[::-1], range(17, -1, -1))):
        split = make_split("group:file", part, 5, 1, None, 3)
        files = [{int(file_of[order[i]]) for i in indices.tolist()} for indices in split]
        assert all(files)
        assert sum(map(len, files)) == 4  # no file is in two parts
