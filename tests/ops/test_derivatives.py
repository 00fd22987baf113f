import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schnetgeo.errors import InputError
from schnetgeo.ops import edges_from_index, numba_backend, torch_backend
from tests.ops.graphs import Case, random_case

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
FUNCTIONS = (
    "spline_conv",
    "spline_conv_tangent",
    "edge_gradient",
    "spline_conv_grad_weights",
    "spline_conv_grad_table",
    "spline_conv_grad_table_tangent",
)


def arguments(module, name, case):
    """What a function of a backend takes, and the shape of what it gives."""
    x, y, table, interval, weights, edges = case
    dx, dy, dweights = y.flip(0), x.flip(0), weights.flip(1)
    by_interval = module.sort_by_interval(interval, table.size(0))
    return {
        "spline_conv": (x.shape, (x, table, interval, weights)),
        "spline_conv_tangent": (x.shape, (x, dx, table, interval, weights, dweights)),
        "edge_gradient": (interval.shape, (x, y, table, interval, weights)),
        "spline_conv_grad_weights": (weights.shape, (x, y, table, interval)),
        "spline_conv_grad_table": (table.shape, (x, y, by_interval, weights)),
        "spline_conv_grad_table_tangent": (
            table.shape,
            (x, y, dx, dy, by_interval, weights, dweights),
        ),
    }[name]


def run(module, name, case):
    shape, tensors = arguments(module, name, case)
    # an edge gradient adds; the others must write everything
    out = torch.full(shape, 0.5 if name == "edge_gradient" else torch.nan, dtype=case.x.dtype)
    getattr(module, name)(*tensors, case.edges, out)
    return out


def by_hand(case):
    """Σ_e Σ_q w_eq ⟨x_j ⊙ y_i, c_{k_e + q}⟩, edge by edge."""
    x, y, table, interval, weights, edges = case
    total = x.new_zeros(())
    for e in range(interval.numel()):
        product = x[edges.source[e]] * y[edges.target[e]]
        for q in range(4):
            total = total + weights[e, q] * (product * table[interval[e] + q]).sum()
    return total


@pytest.mark.slow
@DTYPES
@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), atoms=st.integers(1, 9), pairs=st.integers(0, 40),
       channels=st.integers(1, 9), knots=st.integers(4, 200))  # fmt: skip
def test_backends_agree(name, dtype, seed, atoms, pairs, channels, knots):
    case = random_case(seed, atoms, pairs, channels, knots, dtype)
    found, expected = run(numba_backend, name, case), run(torch_backend, name, case)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("module", [numba_backend, torch_backend])
def test_functions_are_derivatives_of_one_form(module):
    """Of T(x, y, c, w) = Σ_e Σ_q w_eq ⟨x_j ⊙ y_i, c_{k_e + q}⟩, and of its change."""
    case = random_case()
    dx, dy, dw = case.y.flip(0), case.x.flip(0), case.weights.flip(1)
    floats = [t.clone().requires_grad_() for t in (case.x, case.y, case.table, case.weights)]

    def form(x, y, table, weights):
        return by_hand(Case(x, y, table, case.interval, weights, case.edges))

    _, y_bar, table_bar, weights_bar = torch.autograd.grad(form(*floats), floats)
    x, y, c, w = floats
    change = form(dx, y, c, w) + form(x, y, c, dw)
    (conv_tangent,) = torch.autograd.grad(change, y)
    (table_tangent,) = torch.autograd.grad(
        form(*floats) + form(dx, dy, c, w) + form(x, dy, c, dw), c
    )
    expected = {
        "spline_conv": y_bar,
        "spline_conv_tangent": conv_tangent,
        "edge_gradient": 0.5 + (weights_bar * case.weights).sum(1),
        "spline_conv_grad_weights": weights_bar,
        "spline_conv_grad_table": table_bar,
        "spline_conv_grad_table_tangent": table_tangent,
    }
    for name in FUNCTIONS:
        torch.testing.assert_close(run(module, name, case), expected[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_features_stored_by_columns(name):
    case = random_case()
    columns = {k: t.t().contiguous().t() for k, t in case._asdict().items() if torch.is_tensor(t)}
    del columns["interval"]
    found = run(numba_backend, name, case._replace(**columns))
    torch.testing.assert_close(found, run(numba_backend, name, case), rtol=0, atol=0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_same_bits_again(name):
    case = random_case(atoms=100, pairs=2000, channels=17, knots=300, dtype=torch.float32)
    first = run(numba_backend, name, case)
    for _ in range(3):
        assert torch.equal(run(numba_backend, name, case), first)


@pytest.mark.slow
def test_the_same_bits_for_any_number_of_threads():
    subprocess.run([sys.executable, "-m", "tests.ops.same_bits"], check=True, timeout=600)


@pytest.mark.parametrize(
    ("edge_index", "reverse", "message"),
    [
        ([[0, 1], [1, 0]], [1, 0], "targets, must not decrease; sort"),
        ([[1, 0], [0, 1]], [0, 1], "must point from each edge"),
        ([[1, 2], [0, 0]], [1, 0], "must point from each edge"),
        ([[1, 0], [0, 1]], [1, 2], "must point from each edge"),
        ([[1, 0], [0, 1]], [-1, 0], "must point from each edge"),
        ([[1, 0], [0, 1]], [1], "must point from each edge"),
        ([[3, 1], [1, 3]], [1, 0], "must lie in 0 … 2"),
    ],
    ids=["unsorted", "not the reverse", "one way", "too large", "negative", "too few", "no atom"],
)
def test_bad_edges(edge_index, reverse, message):
    with pytest.raises(InputError, match=message):
        edges_from_index(torch.tensor(edge_index), torch.tensor(reverse), 3)


def test_images_need_their_reverse():
    """Two images of one atom, without those on the other side."""
    loops, reverse = torch.zeros(2, 2, dtype=torch.long), torch.tensor([1, 0])
    edges_from_index(loops, reverse, 1, torch.tensor([[-1, 0, 0], [1, 0, 0]]))
    with pytest.raises(InputError, match="give every edge its reverse"):
        edges_from_index(loops, reverse, 1, torch.tensor([[0, 1, 0], [1, 0, 0]]))
