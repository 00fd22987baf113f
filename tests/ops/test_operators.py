import importlib.util
import subprocess
import sys
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from schnetgeo import ops
from schnetgeo.errors import InputError
from schnetgeo.ops import Edges, backend, edges_from_index, numba_backend, operators, torch_backend
from tests.ops.graphs import random_case

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
    # slope adds; the others must write everything
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


def test_operators_are_derivatives_of_one_form():
    case = random_case()
    floats = [case.x, case.y, case.table, case.weights]
    for tensor in floats:
        tensor.requires_grad_()
    x_bar, y_bar, table_bar, weights_bar = torch.autograd.grad(by_hand(case), floats)
    x, y, table, interval, weights, edges = case
    torch.testing.assert_close(ops.spline_conv(x, table, interval, weights, edges), y_bar)
    torch.testing.assert_close(
        ops.spline_conv_grad_weights(x, y, table, interval, edges), weights_bar
    )
    torch.testing.assert_close(
        ops.spline_conv_grad_table(x, y, interval, weights, edges, table.size(0)), table_bar
    )
    back = interval[edges.reverse], weights[edges.reverse]
    torch.testing.assert_close(ops.spline_conv(y, table, *back, edges), x_bar)


def functions(case):
    """Each operator as a function of its float arguments alone."""
    x, y, table, interval, weights, edges = case
    return {
        "spline_conv": (
            lambda x, c, w: ops.spline_conv(x, c, interval, w, edges),
            (x, table, weights),
        ),
        "spline_conv_grad_weights": (
            lambda x, y, c: ops.spline_conv_grad_weights(x, y, c, interval, edges),
            (x, y, table),
        ),
        "spline_conv_grad_table": (
            lambda x, y, w: ops.spline_conv_grad_table(x, y, interval, w, edges, table.size(0)),
            (x, y, weights),
        ),
    }


@pytest.mark.parametrize(
    "name", ["spline_conv", "spline_conv_grad_weights", "spline_conv_grad_table"]
)
@pytest.mark.parametrize("module", [numba_backend, torch_backend])
def test_first_and_second_derivatives(monkeypatch, module, name):
    monkeypatch.setattr("schnetgeo.ops.operators.get_backend", lambda like: module)
    # each edge has weights of its own: w and k need not be those of the reverse edge
    case = random_case(atoms=4, pairs=5, channels=2, knots=6)
    random = torch.Generator().manual_seed(1)
    case = case._replace(
        weights=torch.randn(10, 4, generator=random).double(),
        interval=torch.randint(3, (10,), generator=random),
    )
    function, tensors = functions(case)[name]
    tensors = [t.clone().requires_grad_() for t in tensors]
    assert torch.autograd.gradcheck(function, tensors)
    assert torch.autograd.gradgradcheck(function, tensors)


@pytest.mark.parametrize(
    "name", ["spline_conv", "spline_conv_grad_weights", "spline_conv_grad_table"]
)
def test_only_what_is_asked_for_is_differentiated(name):
    function, tensors = functions(random_case())[name]
    for index in range(3):
        some = [t.clone().requires_grad_(k == index) for k, t in enumerate(tensors)]
        every = [t.clone().requires_grad_() for t in tensors]
        (one,) = torch.autograd.grad(function(*some).sum(), some[index])
        torch.testing.assert_close(
            one, torch.autograd.grad(function(*every).sum(), every)[index], rtol=0, atol=0
        )


@DTYPES
def test_no_edges(dtype):
    case = random_case(atoms=3, pairs=0, dtype=dtype)
    for function, tensors in functions(case).values():
        tensors = [t.requires_grad_() for t in tensors]
        out = function(*tensors)
        assert not out.any()
        for gradient in torch.autograd.grad(out.sum(), tensors):
            assert not gradient.any()


def test_any_strides():
    """A transposed argument, and the gradient of a sum, whose strides are 0."""
    case = random_case()
    for function, tensors in functions(case).values():
        expected = function(*tensors)
        turned = [t.t().contiguous().t() for t in tensors]
        torch.testing.assert_close(function(*turned), expected, rtol=0, atol=0)
        turned = [t.clone().requires_grad_() for t in turned]
        for shape in ((), (1, expected.size(1)), (expected.size(0), 1)):
            seed = torch.randn(shape, dtype=torch.float64).expand(expected.shape)
            spread = torch.autograd.grad(function(*turned), turned, seed)
            whole = torch.autograd.grad(function(*turned), turned, seed.contiguous())
            for one, other in zip(spread, whole, strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_same_bits_again(name):
    case = random_case(atoms=100, pairs=2000, channels=17, knots=300, dtype=torch.float32)
    first = run(numba_backend, name, case)
    for _ in range(3):
        assert torch.equal(run(numba_backend, name, case), first)


def test_the_same_bits_for_any_number_of_threads():
    subprocess.run([sys.executable, "-m", "tests.ops.same_bits"], check=True, timeout=600)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"interval": lambda k: k.clone().index_fill_(0, torch.tensor([3]), 9)}, "interval 9 of a"),
        ({"interval": lambda k: k - 100}, "interval -100 of a table with 9"),
        ({"interval": lambda k: k[:-1]}, "30 edges, but 29 intervals"),
        (
            {"weights": lambda w: w.float()},
            "share type and device, got torch.float64 .* torch.float32",
        ),
        ({"weights": lambda w: w[:, :3]}, r"weights must have shape \(30, 4\), got \(30, 3\)"),
        ({"weights": lambda w: w[:-1]}, r"weights must have shape \(30, 4\), got \(29, 4\)"),
        (
            {"table": lambda c: c[:, :-1]},
            r"table must have shape \(12, 5\), got \(12, 4\)",
        ),
        ({"x": lambda x: x[:-1]}, r"features \(6, 5\), but edges of 7 atoms"),
        ({"x": lambda x: x.float()}, "share type and device, got torch.float32"),
    ],
)
def test_bad_arguments(change, message):
    """An error, where a kernel would read beyond the end of an array."""
    case = random_case()
    case = case._replace(
        **{name: function(getattr(case, name)) for name, function in change.items()}
    )
    with pytest.raises(RuntimeError, match=message):
        ops.spline_conv(case.x, case.table, case.interval, case.weights, case.edges)


def test_devices_must_agree():
    x, _, table, interval, weights, edges = random_case()
    for tensors in ((table.to("meta"), weights), (table, weights.to("meta"))):
        with pytest.raises(RuntimeError, match="share type and device, got .* and .* on meta"):
            operators._check(
                interval,
                edges,
                12,
                x,
                **dict(zip(("table", "weights"), tensors, strict=True)),
            )
    with pytest.raises(RuntimeError, match="edges must be on the device of the features, cpu"):
        operators._check(interval.to("meta"), edges, 12, x)


def test_features_that_do_not_fit_each_other():
    x, y, table, interval, weights, edges = random_case()
    with pytest.raises(RuntimeError, match=r"y must have shape \(7, 5\), got \(7, 4\)"):
        ops.spline_conv_grad_weights(x, y[:, :4], table, interval, edges)
    with pytest.raises(RuntimeError, match=r"y must have shape \(7, 5\), got \(5, 5\)"):
        ops.spline_conv_grad_table(x, y[:5], interval, weights, edges, 12)
    with pytest.raises(RuntimeError, match="interval .* of a table with 2"):
        ops.spline_conv_grad_table(x, y, interval, weights, edges, 5)


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


@pytest.mark.parametrize(
    "name", ["spline_conv", "spline_conv_grad_weights", "spline_conv_grad_table"]
)
def test_torch_accepts_the_operators(name):
    x, y, table, interval, weights, edges = random_case(atoms=4, pairs=5, channels=2, knots=6)
    given = {
        "spline_conv": (x, table, interval, weights, *edges),
        "spline_conv_grad_weights": (x, y, table, interval, *edges),
        "spline_conv_grad_table": (x, y, interval, weights, *edges, 6),
    }[name]
    given = [
        t.clone().requires_grad_() if torch.is_tensor(t) and t.is_floating_point() else t
        for t in given
    ]
    torch.library.opcheck(getattr(torch.ops.schnetgeo, name), given)


class Layer(nn.Module):
    def forward(self, x, table, interval, weights, source, target, start, reverse):
        edges = Edges(source, target, start, reverse)
        return ops.spline_conv(torch.tanh(x), table, interval, weights, edges).square()


def test_compile_sees_through_conv():
    x, _, table, interval, weights, edges = random_case()
    layer, floats = Layer(), [t.clone().requires_grad_() for t in (x, table, weights)]
    given = floats[0], floats[1], interval, floats[2], *edges
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*given), layer(*given))
    for one, other in zip(
        torch.autograd.grad(compiled(*given).sum(), floats),
        torch.autograd.grad(layer(*given).sum(), floats),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_export_sees_through_conv():
    x, _, table, interval, weights, edges = random_case()
    given = x, table, interval, weights, *edges
    program = torch.export.export(Layer(), given)
    assert any("schnetgeo.spline_conv" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(*given), Layer()(*given))


@pytest.fixture
def fresh_backends():
    backend._load.cache_clear()
    yield
    backend._load.cache_clear()


@pytest.mark.usefixtures("fresh_backends")
def test_without_numba_torch_computes_after_one_warning(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "numba" else found(name, *a)
    )
    with pytest.warns(UserWarning, match="numba is not installed, so spline filters run several"):
        case = random_case()
    assert ops.get_backend(case.x) is torch_backend
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ops.spline_conv(case.x, case.table, case.interval, case.weights, case.edges)
    expected = torch.zeros_like(found)
    torch_backend.spline_conv(case.x, case.table, case.interval, case.weights, case.edges, expected)
    assert torch.equal(found, expected)


def test_which_backend_computes():
    assert ops.get_backend(torch.zeros(1)) is numba_backend
    assert ops.get_backend(torch.zeros(1, dtype=torch.float64)) is numba_backend
    assert ops.get_backend(torch.zeros(1, dtype=torch.float16)) is torch_backend
