import gc

import numpy as np
import pytest

from schnetgeo.ops import memory

SHAPE = (3, 2**19)


@pytest.fixture(autouse=True)
def _none_waiting(monkeypatch):
    monkeypatch.setattr(memory, "_waiting", [])


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_is_used_again_when_the_last_view_is_gone():
    first = memory.empty(SHAPE, np.float32)
    assert first.shape == SHAPE
    assert first.dtype == np.float32
    first[:] = 1.0
    view, place = first[1, 5:], address(first)
    del first
    gc.collect()
    second = memory.empty(SHAPE, np.float32)  # while the view lives
    second[:] = 2.0
    assert address(second) != place
    assert (view == 1.0).all()
    del view
    gc.collect()
    assert address(memory.empty(SHAPE, np.float32)) == place


def test_much_larger_memory_is_left_alone_and_little_waits():
    large = [memory.empty((2**18,), np.float64) for _ in range(memory._MOST + 2)]
    del large
    gc.collect()
    assert len(memory._waiting) == memory._MOST
    memory.empty((2**18,), np.float64)
    assert len(memory._waiting) == memory._MOST
