"""Conditions: what Python says of them, and nothing else that Python can do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schnetgeo.data.expression import Expression
from schnetgeo.errors import InputError

NAMES = ("gap", "mu", "U0")
numbers = st.one_of(st.integers(-9, 9), st.floats(-9, 9, allow_nan=False)).map(repr)
atoms = st.one_of(st.sampled_from(NAMES), numbers)
arithmetic = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda t: f"abs({t})"),
        inner.map(lambda t: f"(-{t})"),
    ),
    max_leaves=6,
)
comparisons = st.tuples(
    arithmetic, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), arithmetic
).map(" ".join)
conditions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda t: f"({t[0]}) {t[1]} ({t[2]})"
        ),
        inner.map(lambda t: f"not ({t})"),
    ),
    max_leaves=4,
)


@settings(max_examples=200, deadline=None)
@given(conditions, st.integers(0, 2**32 - 1))
def test_values_are_those_of_python(text, seed):
    values = {name: np.random.default_rng(seed).normal(size=7) for name in NAMES}
    result = np.broadcast_to(Expression(text).evaluate(values), 7)
    for k in range(7):
        expected = eval(text, {"abs": abs}, {name: float(v[k]) for name, v in values.items()})
        assert bool(result[k]) == expected


def test_chained_comparisons_and_nan():
    values = {"mu": np.array([0.0, 1.5, np.nan, 3.0])}
    assert Expression("1 < mu < 2").evaluate(values).tolist() == [False, True, False, False]
    assert Expression("mu < 9").evaluate(values).tolist() == [True, True, False, True]
    assert np.isnan(Expression("log(mu) / 0 * 0").evaluate(values)).any()


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "gap.__class__", "[x for x in (1,)]", "lambda: 1",
        "gap[0]", "'text'", "open('a')", "f'{gap}'", "(gap := 1)", "gap if mu else U0",
        "abs(gap, mu)", "abs(x=gap)", "gap & mu", "gap in mu", "True", "None", "1j", "",
        "gap >", "gap; mu", "a" * 1001, "(" * 60 + "gap" + ")" * 60 + " +", "-" * 200 + "gap",
    ],
)  # fmt: skip
def test_nothing_else_is_evaluated(text):
    with pytest.raises(InputError, match="^condition: "):
        Expression(text)


def test_unknown_names_are_named():
    with pytest.raises(InputError, match="unknown name 'gab'; known: gap, mu"):
        Expression("gab > 1").evaluate({"gap": np.ones(2), "mu": np.ones(2)})
