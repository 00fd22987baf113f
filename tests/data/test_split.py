import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from schnetgeo.data.split import Split, random_split
from schnetgeo.errors import InputError


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
    random_split(20, 10, 5, seed=0).keep(path, resume=False)
    random_split(20, 10, 5, seed=0).keep(path, resume=True)
    with pytest.raises(InputError, match="begun with another split"):
        random_split(20, 10, 5, seed=1).keep(path, resume=True)
    assert torch.equal(Split.load(path).test, random_split(20, 10, 5, seed=0).test)
