"""Which implementation of the operators runs, and what it is given."""

import importlib.util
import inspect
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch

from schnetgeo import ops
from schnetgeo.errors import InputError
from schnetgeo.ops import backend, torch_backend
from schnetgeo.ops.protocol import Backend

RING = torch.tensor([[1, 2, 0, 2, 0, 1], [0, 0, 1, 1, 2, 2]])
BACK = torch.tensor([2, 4, 0, 5, 1, 3])


@pytest.fixture
def _afresh():
    backend._load.cache_clear()
    yield
    backend._load.cache_clear()


def tensor_on(device: str, dtype: torch.dtype = torch.float32):
    """What `get_backend` looks at; a device that this machine need not have."""
    return SimpleNamespace(device=torch.device(device), dtype=dtype)


@pytest.mark.usefixtures("_afresh")
@pytest.mark.parametrize(
    ("device", "name"), [("cpu", "numba"), ("cuda", "triton"), ("mps", "torch")]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_device_has_its_backend(device, name, dtype):
    if device == "cuda":
        pytest.importorskip("triton")
    assert ops.get_backend(tensor_on(device, dtype)).__name__ == f"schnetgeo.ops.{name}_backend"


def functions(module) -> dict[str, list[str]]:
    """Names of the arguments of a module's public functions in Python."""
    return {
        name: [argument for argument in inspect.signature(f).parameters if argument != "self"]
        for name, f in inspect.getmembers(module, inspect.isfunction)
        if f.__module__.startswith("schnetgeo.ops") and not name.startswith("_")
    }


@pytest.mark.parametrize("name", ["torch", "numba", "triton"])
def test_a_backend_has_the_functions_of_the_protocol_and_no_other(name):
    pytest.importorskip(name)
    found = functions(importlib.import_module(f"schnetgeo.ops.{name}_backend"))
    found.pop("match_threads", None)
    assert found == functions(Backend)


def test_half_precision_runs_in_plain_torch():
    assert (
        ops.get_backend(tensor_on("cpu", torch.bfloat16)).__name__ == "schnetgeo.ops.torch_backend"
    )


@pytest.mark.usefixtures("_afresh")
@pytest.mark.parametrize(("device", "package"), [("cpu", "numba"), ("cuda", "triton")])
def test_a_missing_compiler_is_told_once(device, package, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find_spec(name)
    )
    with pytest.warns(UserWarning, match=f"{package} is not installed.* on {device}; install"):
        found = ops.get_backend(tensor_on(device))
    assert found.__name__ == "schnetgeo.ops.torch_backend"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ops.get_backend(tensor_on(device)) is found


def test_edges_of_each_atom():
    edges = ops.edges_from_index(RING, BACK, 5)
    assert edges.row_pointers.tolist() == [0, 2, 4, 6, 6, 6]
    assert ops.edges_from_index(RING[:, :0], BACK[:0], 2).row_pointers.tolist() == [0, 0, 0]


@pytest.mark.parametrize(("shift", "message"), [(0, r"0 … 1, got targets 0 … 2"), (-1, "-1")])
def test_edges_of_atoms_that_are_not_there(shift, message):
    with pytest.raises(InputError, match=message):
        ops.edges_from_index(RING + shift, BACK, 2)


@pytest.mark.slow
def test_importing_the_kernels_leaves_the_number_of_threads():
    program = (
        "import torch; torch.set_num_threads(1); from schnetgeo.ops import numba_backend, jit; "
        "jit.match_threads(); import numba; print(torch.get_num_threads(), numba.get_num_threads())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["1", "1"]


def test_edges_that_are_not_sorted_stop_a_device():
    """The assertion is the one that a GPU runs; on the CPU it raises at once."""
    torch_backend._assert_sorted(RING[1])
    torch_backend._assert_sorted(RING[1, :0])
    with pytest.raises(RuntimeError, match="the targets, must not decrease; sort edges by target"):
        torch_backend._assert_sorted(RING[0])
