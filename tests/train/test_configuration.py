"""Numbers that a training can be told."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schnetgeo.errors import InputError
from schnetgeo.train import TrainingConfig

WHOLE = ["batch_size", "decay_steps", "validate_every", "checkpoint_every", "max_steps"]
WHOLE_OR_ZERO = ["patience", "stop_patience", "seed", "threads"]


def training(**options):
    return TrainingConfig(**{"max_steps": 5, **options})


@pytest.mark.parametrize("name", ["rho", "clip", *WHOLE_OR_ZERO, *WHOLE, "lr", "max_minutes"])
@pytest.mark.parametrize("value", [-1, -0.5, math.nan, -math.inf, math.inf, "3", True])
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(InputError, match=f"^{name} must"):
        training(**{name: value})


@pytest.mark.parametrize("name", ["decay", "ema_decay"])
@pytest.mark.parametrize("value", [-0.1, 1.0, math.nan])
def test_decays_lie_below_one(name, value):
    with pytest.raises(InputError, match=f"^{name} must lie in 0 … 1, 1 excluded"):
        training(**{name: value})


@pytest.mark.parametrize("value", [0, -2, 1.5, "two"])
def test_devices_are_a_positive_number_or_auto(value):
    with pytest.raises(InputError, match="^devices must be"):
        training(devices=value)


@pytest.mark.parametrize("name", [*WHOLE, *WHOLE_OR_ZERO, "devices"])
@given(value=st.floats(1.01, 1e6).filter(lambda x: not x.is_integer()))
def test_counts_are_whole(name, value):
    with pytest.raises(InputError, match=f"^{name} must be a whole number"):
        training(**{name: value})


@given(st.integers(1, 1000), st.sampled_from([0.5, 2.0**-9, 0.75]))
def test_numbers_of_numpy_become_plain(count, rate):
    of_numpy = training(max_steps=np.int64(count), batch_size=np.uint8(7), lr=np.float32(rate))
    plain = training(max_steps=count, batch_size=7, lr=rate)
    assert of_numpy == plain
    assert {type(v) for v in vars(of_numpy).values()} <= {int, float, str, bool, type(None), tuple}
    assert training(max_steps=1e3).max_steps == 1000  # a whole number, written as people do


@pytest.mark.parametrize("number", [32, 64, np.int64(64)])
def test_precision_is_a_word_or_a_number(number):
    assert training(precision=number) == training(precision=str(number))
    with pytest.raises(InputError, match="unknown precision '16'; known: 32, 64"):
        training(precision=16)
