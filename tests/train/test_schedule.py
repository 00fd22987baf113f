"""The step size goes on without a jump, whatever end a resumed training has."""

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schnetgeo.errors import InputError
from schnetgeo.notes import DataNote
from schnetgeo.train import TrainingConfig
from schnetgeo.train.schedule import StepSize

steps = st.integers(1, 10_000)


@given(steps, steps)
def test_linear_is_a_line_from_one_to_zero(end, step):
    line = StepSize(TrainingConfig(max_steps=end))
    assert line.factor(step, 0.0) == pytest.approx(max(0.0, 1 - step / end))


@given(steps, steps, steps)
def test_another_end_makes_a_bend_and_no_jump(end, other, step):
    step = min(step, end - 1)
    first = StepSize(TrainingConfig(max_steps=end))
    second = StepSize(TrainingConfig(max_steps=other))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataNote)
        second.resume(first.state(), step, 0.0)
    expected = first.factor(step, 0.0) if step < other else 0.0
    assert second.factor(step, 0.0) == pytest.approx(expected)
    factors = [second.factor(s, 0.0) for s in range(step, max(step, other) + 1)]
    assert factors == sorted(factors, reverse=True)
    assert second.factor(max(step, other), 0.0) == 0


@given(steps, steps)
def test_the_same_end_gives_the_same_numbers(end, step):
    first, second = (StepSize(TrainingConfig(max_steps=end)) for _ in range(2))
    second.resume(first.state(), min(step, end), 0.0)
    assert [second.factor(s, 0.0) for s in range(9)] == [first.factor(s, 0.0) for s in range(9)]


def test_minutes_count_as_well():
    line = StepSize(TrainingConfig(max_steps=1000, max_minutes=10.0))
    assert line.factor(100, 300.0) == pytest.approx(0.5)
    longer = StepSize(TrainingConfig(max_steps=1000, max_minutes=20.0))
    longer.resume(line.state(), 100, 300.0)
    assert longer.factor(100, 300.0) == pytest.approx(0.5)
    assert longer.factor(100, 1200.0) == 0


def test_a_line_near_its_end_says_so():
    line, longer = StepSize(TrainingConfig(max_steps=200)), StepSize(TrainingConfig(max_steps=400))
    with pytest.warns(DataNote, match="brought the step size from 0.003 to 1.5e-05, from which"):
        longer.resume(line.state(), 199, 0.0)


@given(steps, steps)
def test_a_line_at_its_end_is_not_made_longer(end, more):
    line, longer = (
        StepSize(TrainingConfig(max_steps=end)),
        StepSize(TrainingConfig(max_steps=end + more)),
    )
    with pytest.raises(InputError, match="from 0.003 to 0, .* new training .*--initial-model"):
        longer.resume(line.state(), end, 0.0)


@given(steps, steps)
def test_a_shorter_end_leaves_nothing_to_refuse(end, other):
    line, shorter = (StepSize(TrainingConfig(max_steps=n)) for n in (end + other, other))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataNote)
        shorter.resume(line.state(), end + other, 0.0)
    assert shorter.factor(end + other, 0.0) == 0


@pytest.mark.parametrize("schedule", ["exponential", "constant"])
def test_other_schedules_do_not_look_at_the_end(schedule):
    first, second = (StepSize(TrainingConfig(max_steps=n, schedule=schedule)) for n in (100, 300))
    second.resume(first.state(), 100, 0.0)
    assert second.factor(150, 0.0) == first.factor(150, 0.0) > 0
