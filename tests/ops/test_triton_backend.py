"""The Triton kernels against plain torch: on a GPU, and on the CPU under Triton's interpreter.

Triton decides on import whether it interprets, so `test_under_the_interpreter` runs this file
again in a process of its own, as does TRITON_INTERPRET=1 python -m pytest on this file.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ase.build import molecule
from torch_geometric.data import Batch

import schnetgeo as sg
from schnetgeo.data.graph import with_edges
from schnetgeo.engine.engine import Reading
from schnetgeo.ops import backend, torch_backend
from schnetgeo.ops.bspline import Grid
from schnetgeo.ops.csr import edges_from_index
from schnetgeo.ops.edges import Edges

triton = pytest.importorskip("triton")

from schnetgeo.ops import triton_backend, triton_kernels  # noqa: E402

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
FUNCTIONS = (
    "spline_conv",
    "spline_conv_tangent",
    "edge_gradient",
    "spline_conv_grad_weights",
    "spline_conv_grad_table",
    "spline_conv_grad_table_tangent",
)
KERNELS = (
    *(
        "spline_conv",
        "edge_gradient",
        "spline_conv_grad_weights",
        "spline_conv_grad_table",
        "merge",
    ),
    *(
        "copy_padded",
        "knot_weights",
        "shifted_softplus",
        "spline_coefficients",
        "spline_coefficients_transpose",
    ),
)
KNOTS = 12

runs = pytest.mark.skipif(
    not INTERPRETED and not torch.cuda.is_available(),
    reason="no GPU; test_under_the_interpreter runs it on the CPU",
)
compiles = pytest.mark.skipif(INTERPRETED, reason="what is interpreted is not compiled")


class Problem:
    """Random arguments of all the functions, float64, on the CPU."""

    def __init__(self, num: int, channels: int, pairs: float = 0.3):
        generator = torch.Generator().manual_seed(num)
        near = torch.rand(num, num, generator=generator) < pairs
        near[:1] = pairs > 0  # the first atom has more neighbors than a program takes at once
        near = near.triu(1)
        target, source = (near | near.T).nonzero().T
        edge = torch.zeros(num, num, dtype=torch.long)
        edge[target, source] = torch.arange(target.numel())
        self.edges = edges_from_index(torch.stack([source, target]), edge[source, target], num)
        count = target.numel()

        def random(*shape):
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        self.x, self.y, self.dx, self.dy = random(4, num, channels)
        self.c = random(KNOTS, channels)
        self.w, self.dw = random(2, count, 4)
        self.w[::3] = 0  # edges at the cutoff
        self.dw[::3] = 0
        self.interval = torch.randint(KNOTS - 3, (count,), generator=generator)
        self.interval[: count // 2] = 4  # bonds of one length

    def run(self, kernels, name: str, dtype=torch.float64, device="cpu") -> torch.Tensor:
        """What a function makes of ones: most overwrite them, `slope` adds to them."""
        arguments, shape = {
            "spline_conv": ((self.x, self.c, self.interval, self.w), self.x.shape),
            "spline_conv_tangent": (
                (self.x, self.dx, self.c, self.interval, self.w, self.dw),
                self.x.shape,
            ),
            "edge_gradient": ((self.x, self.y, self.c, self.interval, self.w), self.interval.shape),
            "spline_conv_grad_weights": ((self.x, self.y, self.c, self.interval), self.w.shape),
            "spline_conv_grad_table": ((self.x, self.y, self.interval, self.w), self.c.shape),
            "spline_conv_grad_table_tangent": (
                (self.x, self.y, self.dx, self.dy, self.interval, self.w, self.dw),
                self.c.shape,
            ),
        }[name]
        arguments = [t.to(device, dtype if t.is_floating_point() else None) for t in arguments]
        if name.startswith("spline_conv_grad_table"):
            at = 2 if name == "spline_conv_grad_table" else 4
            arguments[at] = kernels.sort_by_interval(arguments[at], KNOTS)
        edges = Edges(*(kernels.as_array(t.to(device)) for t in self.edges))
        out = torch.ones(shape, dtype=dtype, device=device)
        getattr(kernels, name)(*arguments, edges, out)
        return out.cpu()


def assert_agree(problem: Problem, name: str, dtype: torch.dtype):
    found = problem.run(triton_backend, name, dtype, DEVICE)
    expected = problem.run(torch_backend, name)
    assert found.dtype == dtype
    scale = float(expected.abs().max()) if expected.numel() else 1.0
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-14}[dtype] * scale
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=tolerance)


@pytest.mark.slow
@runs
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("channels", "dtype"),
    [(1, torch.float64), (7, torch.float32), (64, torch.float64), (130, torch.float32)],
)
def test_agrees_with_plain_torch(name, channels, dtype):
    assert_agree(Problem(11, channels), name, dtype)


@pytest.mark.slow
@runs
@pytest.mark.parametrize("edges", [1, 3, 7, 1000])
@pytest.mark.parametrize("name", ["spline_conv_grad_table", "spline_conv_grad_table_tangent"])
def test_programs_share_the_edges_of_intervals(monkeypatch, name, edges):
    monkeypatch.setattr(triton_backend, "_FEWEST", edges)
    assert_agree(Problem(9, 5), name, torch.float64)


@runs
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [0, 1, 2500])
def test_places_on_the_knots(count, dtype):
    grid = Grid(first=3, count=20, spacing=0.3, cutoff=5.0)
    r, f, df = torch.rand(3, count, generator=torch.Generator().manual_seed(0)).to(dtype)
    r = 0.9 + 5 * r  # some beyond the cutoff
    r[1:2] = torch.nan

    def run(kernels, device):
        interval = torch.zeros(count, dtype=torch.long, device=device)
        weights, slopes = torch.zeros(2, count, 4, dtype=dtype, device=device)
        arguments = (t.to(device) for t in (r, f, df))
        kernels.knot_weights(*arguments, grid, interval, weights, slopes)
        places = interval.unsqueeze(1) + torch.arange(4, device=device)
        rows = [torch.zeros(count, grid.count, dtype=dtype, device=device) for _ in range(2)]
        # a place may belong to either of two intervals, whose splines agree there
        rows[0].scatter_(1, places, weights)
        rows[1].scatter_(1, places, slopes)
        return [t.cpu() for t in rows]

    tolerance = 1e-4 if dtype == torch.float32 else 1e-12
    expected = run(torch_backend, "cpu")
    torch.testing.assert_close(run(triton_backend, DEVICE), expected, rtol=0, atol=tolerance)


@runs
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_softplus_and_coefficients(dtype):
    h = 40 * torch.randn(37, 45, generator=torch.Generator().manual_seed(0), dtype=dtype)
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14

    def run(kernels, device):
        like = h.to(device)
        softplus = [torch.zeros_like(like) for _ in range(3)]
        kernels.shifted_softplus(like, *softplus)
        smaller, larger = like.new_zeros(35, 45), like.new_zeros(39, 45)
        kernels.spline_coefficients(like, smaller)
        kernels.spline_coefficients_transpose(like, larger)
        return [t.cpu() for t in (*softplus, smaller, larger)]

    expected = run(torch_backend, "cpu")
    torch.testing.assert_close(
        run(triton_backend, DEVICE), expected, rtol=tolerance, atol=10 * tolerance
    )


@runs
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("num", "pairs"), [(0, 1.0), (1, 1.0), (3, 1.0), (4, 0.0)])
def test_few_atoms_or_edges(name, num, pairs):
    assert_agree(Problem(num, 7, pairs), name, torch.float64)


@pytest.mark.slow
@runs
@pytest.mark.parametrize("name", FUNCTIONS)
def test_rows_may_lie_anywhere_in_memory(name):
    problem, spread = Problem(11, 7), Problem(11, 7)
    for key in ("x", "y", "dx", "dy", "c", "w", "dw"):
        setattr(spread, key, getattr(spread, key).t().contiguous().t())
    spread.interval = spread.interval.repeat_interleave(2)[::2]
    expected, found = (
        problem.run(triton_backend, name, device=DEVICE),
        spread.run(triton_backend, name, device=DEVICE),
    )
    assert torch.equal(found, expected)


@pytest.mark.slow
@runs
@pytest.mark.parametrize("interval", [-1, KNOTS - 3])
def test_an_edge_beyond_the_table_gives_nan(interval):
    problem = Problem(11, 7)
    problem.interval[5] = interval
    there = torch.arange(problem.interval.numel()) == 5
    atom = torch.arange(11) == problem.edges.target[5]
    for name in FUNCTIONS:
        wrong = problem.run(triton_backend, name, device=DEVICE).isnan()
        if name in ("spline_conv", "spline_conv_tangent"):
            assert torch.equal(wrong, atom.unsqueeze(1).expand_as(wrong))
        elif name.startswith("spline_conv_grad_table"):
            assert wrong.all()
        else:
            assert torch.equal(wrong.reshape(there.numel(), -1).all(1), there)
            assert torch.equal(wrong.reshape(there.numel(), -1).any(1), there)


@pytest.mark.slow
@runs
@pytest.mark.parametrize("architecture", [sg.SchNet, sg.PaiNN])
def test_a_training_step(monkeypatch, architecture):
    torch.manual_seed(0)
    molecules = [sg.from_ase(molecule(name)) for name in ("H2O", "CH3")]
    model = architecture(channels=4, num_layers=2, num_basis=5, cutoff=3.0)
    potential = sg.Potential(model, spacing=0.3).double()

    def step(device):
        batch = with_edges(Batch.from_data_list(molecules), 3.0).to(device)
        prediction = potential.to(device)(batch)
        loss = prediction.energy.sum() + prediction.forces.square().sum()
        gradients = torch.autograd.grad(loss, list(potential.parameters()))
        return [t.cpu() for t in (prediction.energy, prediction.forces, *gradients)]

    expected = step("cpu")
    if INTERPRETED:
        monkeypatch.setattr(backend, "_load", lambda device_type: triton_backend)
        monkeypatch.setattr(Reading, "measure", lambda *arguments: None)
    torch.testing.assert_close(step(DEVICE), expected, rtol=1e-9, atol=1e-11)


@runs
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("atoms", "edges"), [(7, 0), (7, 30), (2000, 90), (3, 3000)])
def test_copies_with_padding(atoms, edges, dtype):
    random, end = torch.Generator().manual_seed(0), atoms + 1000

    def arrays(atoms, edges, fill):
        ends = (fill((edges,)) for _ in range(2))
        real = fill((atoms,)).to(dtype), fill((edges,)).to(dtype)
        return fill((atoms,)), real[0], fill((atoms + 1,)), real[1], *ends

    batch = arrays(atoms, edges, lambda size: torch.randint(9, size, generator=random))

    def run(kernels, device):
        longer = arrays(end, 3500, lambda size: torch.full(size, -1, device=device))
        kernels.copy_padded(tuple(t.to(device) for t in batch), longer, 5.0)
        return [t.cpu() for t in longer]

    torch.testing.assert_close(run(triton_backend, DEVICE), run(torch_backend, "cpu"))


@compiles
@runs
@pytest.mark.parametrize("name", ["spline_conv_tangent", "spline_conv_grad_table_tangent"])
def test_the_same_bits_on_every_run(name):
    problem = Problem(100, 64)
    first, *others = (problem.run(triton_backend, name, torch.float32, DEVICE) for _ in range(3))
    assert all(torch.equal(other, first) for other in others)


@pytest.mark.slow
@compiles
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("real", ["fp32", "fp64"])
def test_compiles_for_a_gpu_with_offsets_of_64_bits(kernel, real, tmp_path, monkeypatch):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    function = getattr(triton_kernels, kernel)
    constants = {"EDGES": 8, "BLOCK": 128, "TANGENT": True, "SPACING": 0.1, "CUTOFF": 5.0}
    constants = {k: v for k, v in constants.items() if k in function.arg_names}
    whole = "interval source target pointers order first z to_z to_pointers to_source to_target"
    types = dict.fromkeys(function.arg_names, f"*{real}")
    types |= dict.fromkeys(set(whole.split()) & set(types), "*i64")
    types |= dict.fromkeys({"key"} & set(types), "*i32")
    scalars = "channels last intervals edges size begin inner chunk atoms all_atoms all_edges"
    types |= dict.fromkeys(set(scalars.split()) & set(types), "i32")
    types |= dict.fromkeys({"cutoff"} & set(types), "fp32")
    types |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(function, types, constants)
    assembly = triton.compile(
        source, target=GPUTarget("cuda", 80, 32), options={"enable_fp_fusion": True}
    ).asm
    assert len(assembly["cubin"]) > 1000
    products = re.findall(r"arith\.muli .*", assembly["ttir"])
    assert products
    assert not [p for p in products if re.search(r"\bi32|xi32", p)]


@pytest.mark.slow
@compiles
def test_under_the_interpreter():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", __file__],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > len(FUNCTIONS) * 8
