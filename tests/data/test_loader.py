from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schnetgeo.data.loader import (
    InfiniteBatchSampler,
    ordered_loader,
    shuffled_loader,
    train_loader,
)
from schnetgeo.datasets import Demo
from schnetgeo.errors import InputError


def first_batches(number, *args, **options):
    return list(islice(InfiniteBatchSampler(*args, **options), number))


def frames(number):
    """Ethanol frames that know their row."""
    dataset = Demo("ethanol")[:number]
    dataset.packed.row = torch.arange(dataset.len())
    return dataset


def rows(loader, number=None):
    return [batch.row.tolist() for batch in islice(loader, number)]


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 60), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_goes_on_where_it_stopped(size, batch_size, first, seed):
    whole = first_batches(first + 5, size, batch_size, seed=seed)
    assert first_batches(5, size, batch_size, seed=seed, first=first) == whole[first:]


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 20), st.integers(0, 9))
@settings(max_examples=40, deadline=None)
def test_processes_share_the_batch_of_one(num_processes, per_process, more, first):
    batch_size = num_processes * per_process
    size = batch_size + more
    ranks = [
        first_batches(6, size, batch_size, first=first, rank=rank, num_processes=num_processes)
        for rank in range(num_processes)
    ]
    for own, *shares in zip(first_batches(6, size, batch_size, first=first), *ranks, strict=True):
        assert all(len(share) == per_process for share in shares)
        assert sorted(sum(shares, [])) == sorted(own)


@given(st.integers(1, 40), st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_epoch_repeats_nothing(size, batch_size):
    taken = min(batch_size, size)
    per_epoch = size // taken
    batches = first_batches(3 * per_epoch, size, batch_size)
    for epoch in range(3):
        seen = sum(batches[epoch * per_epoch : (epoch + 1) * per_epoch], [])
        assert len(seen) == len(set(seen)) == per_epoch * taken
        assert set(seen) <= set(range(size))


def test_epochs_and_seeds_differ():
    batches = first_batches(20, 100, 10, seed=0)
    assert batches[:10] != batches[10:]
    assert batches[:10] != first_batches(10, 100, 10, seed=1)
    assert batches == first_batches(20, 100, 10, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(size=100, batch_size=32, num_processes=3), "32 cannot be shared by 3 .* multiple"),
        (dict(size=5, batch_size=8, num_processes=2), "batch_size=5 cannot be shared by 2"),
        (dict(size=0, batch_size=8), "need at least one structure and one per batch, got 0 and 8"),
        (dict(size=8, batch_size=0), "got 8 and 0"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(InputError, match=message):
        InfiniteBatchSampler(**options)


def test_train_loader_gives_those_batches():
    dataset = frames(30)[10:25]
    batches = first_batches(4, 15, 6, seed=3, first=2)
    expected = [[10 + index for index in batch] for batch in batches]
    assert rows(train_loader(dataset, 6, seed=3, first=2), 4) == expected


def test_ordered_loader_covers_all():
    assert rows(ordered_loader(frames(5), 4)) == [[0, 1, 2, 3], [4]]
    assert rows(ordered_loader(frames(5)[:0], 4)) == []


def test_shuffled_loader():
    loader = shuffled_loader(frames(30), 8, seed=1)
    one, two = rows(loader), rows(loader)
    assert [len(batch) for batch in one] == [8, 8, 8, 6]
    assert sorted(sum(one, [])) == sorted(sum(two, [])) == list(range(30))
    assert one != two
    assert rows(shuffled_loader(frames(30), 8, seed=1)) == one
    assert rows(shuffled_loader(frames(30), 8, seed=2)) != one


def test_loaders_say_what_they_do():
    data = frames(20)
    assert repr(ordered_loader(data, 8)) == "Loader(20 structures, batch_size=8, in order)"
    assert "batch_size=8, shuffled, seed=3" in repr(shuffled_loader(data, 8, seed=3))
    assert "batch_size=8, shuffled without end, seed=3" in repr(train_loader(data, 8, seed=3))
