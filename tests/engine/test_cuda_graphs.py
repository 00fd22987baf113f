"""CUDA graphs with a function that runs again in place of a graph, so that no GPU is needed."""

import contextlib
from types import SimpleNamespace

import pytest
import torch

from schnetgeo.engine.cuda import cache, graph
from schnetgeo.engine.cuda.cache import CudaGraphCache
from schnetgeo.engine.cuda.static_inputs import StaticInputs, padded_size
from schnetgeo.engine.knots import Knots
from schnetgeo.engine.torch.executor import TorchExecutor
from schnetgeo.nn.basis import GaussianBasis
from schnetgeo.nn.cutoff import CosineCutoff
from tests.engine import operations
from tests.engine.programs import CUTOFF, SPACING, expected, random_case

MODELS = operations.models()
NAMES = ["Linear scalar", "Multiply vector scalar", "divergence vector", "Activation SILU"]


class Repeated:
    """In place of a graph: runs the function again, and writes where it did the first time."""

    def __init__(self, run):
        self.run, self.result = run, run()

    def replay(self):
        for first, new in zip(*map(_as_tuple, (self.result, self.run())), strict=True):
            if first is not None:
                first.copy_(new)


def _as_tuple(tensors):
    return tensors if isinstance(tensors, tuple) else (tensors,)


@pytest.fixture(autouse=True)
def graphs(monkeypatch):
    def capture(run, pool, stream):
        graph = Repeated(run)
        return graph, graph.result

    monkeypatch.setattr(graph, "capture", capture)
    monkeypatch.setattr(CudaGraphCache, "_can_capture", lambda *arguments: True)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=0))
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    for name in ("graph_pool_handle", "Stream"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)


class Model:
    """Batches of a random model, whose basis on the knots is that of Gaussians."""

    def __init__(self, name, num_pairs=(9, 7)):
        self.model = MODELS[name]
        basis = GaussianBasis(self.model.num_basis, CUTOFF)
        knots = Knots(basis, CUTOFF, SPACING)
        self.executor = TorchExecutor(self.model.program)
        self.cache = CudaGraphCache(self.executor, knots, CosineCutoff(CUTOFF))
        cases = [random_case(self.model, seed, 5, pairs) for seed, pairs in enumerate(num_pairs)]
        self.cases = [
            c._replace(
                basis=knots.samples(c.edges.coefficients, c.distance),
                parameters=cases[0].parameters,
            )
            for c in cases
        ]
        self.parameters = tuple(p.clone().requires_grad_() for p in cases[0].parameters)

    def inputs(self, case):
        unit = case.unit if self.executor.is_directed else None
        return StaticInputs.of(case.z, case.atom_weights, case.edges.edges, case.distance, unit)

    def graph(self, case, gradients=True):
        return self.cache.get(self.inputs(case), self.parameters, gradients)

    def first_graph(self, gradients=True):
        """After as many batches as it takes."""
        for _ in range(cache._CAPTURE_AFTER - 1):
            assert self.graph(self.cases[0], gradients) is None
        return self.graph(self.cases[0], gradients)


def loss_of(case, results):
    radial, angular, *values = results
    loss = sum((bar * value).sum() for bar, value in zip(case.values_bar, values, strict=True))
    for bar, gradient in ((case.radial_bar, radial), (case.angular_bar, angular)):
        if gradient is not None:
            loss = loss + (bar * gradient).sum()
    return loss


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("gradients", [True, False])
def test_a_graph_with_more_room_than_the_batch_needs(name, gradients):
    model = Model(name)
    graph = model.first_graph(gradients)
    found = []
    for case in model.cases:  # all of them before the backward pass of the first
        assert model.graph(case, gradients) is graph
        found.append(graph(model.inputs(case)))
    for case, results in reversed(list(zip(model.cases, found, strict=True))):
        want = expected(case, gradients)
        pairs = list(zip(results[2:], want.values, strict=True))
        if gradients:
            pairs.append((results[0], want.radial))
        loss = loss_of(case, results)
        bars = torch.autograd.grad(
            loss, model.parameters, allow_unused=True, materialize_grads=True
        )
        pairs += zip(bars, want.parameters, strict=True)
        for got, right in pairs:
            torch.testing.assert_close(got, right, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("wrong", ["_forward", "_backward"])
def test_a_graph_that_errs_is_not_used(monkeypatch, wrong):
    record = graph.CudaGraph._capture

    def capture_wrongly(graph):
        record(graph)
        getattr(graph, wrong).replay = lambda: None  # its results are those of no atoms

    monkeypatch.setattr(graph.CudaGraph, "_capture", capture_wrongly)
    model = Model("Linear scalar")
    with pytest.warns(UserWarning, match="CUDA graphs err on this system; goes on without"):
        assert model.first_graph() is None
    assert model.graph(model.cases[0]) is None
    assert len(model.cache) == 0


def test_a_weight_that_changed_before_the_backward_pass_is_an_error():
    model = Model("Linear scalar")
    graph = model.first_graph()
    loss = loss_of(model.cases[0], graph(model.inputs(model.cases[0])))
    with torch.no_grad():
        model.parameters[0].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_weights_that_moved_get_another_graph():
    model = Model("Linear scalar")
    graph = model.first_graph()
    with torch.no_grad():
        for parameter in model.parameters:
            parameter.mul_(0.5)  # as an optimizer does
    assert model.graph(model.cases[0]) is graph
    model.parameters[0].data = model.parameters[0].data.clone()
    assert model.graph(model.cases[0]) is None
    model.parameters[1].requires_grad_(False)
    assert model.graph(model.cases[0]) is None


def test_graphs_that_were_not_used_for_long_are_dropped(monkeypatch):
    monkeypatch.setattr(cache, "_MAX_GRAPHS", 1)
    monkeypatch.setattr(cache, "_CAPTURE_AFTER_WHEN_FULL", 5)
    model = Model("Linear scalar", (9, 100))
    small, large = model.cases
    graph = model.first_graph()
    found = [model.graph(large) for _ in range(5)]
    assert found[:4] == [None] * 4
    assert found[4] not in (None, graph)
    assert len(model.cache) == 1
    assert model.graph(small) is None


def test_without_memory_the_program_goes_on(monkeypatch):
    def no_memory(*arguments):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(graph.CudaGraph, "_capture", no_memory)
    model = Model("Linear scalar")
    with pytest.warns(UserWarning, match="no memory for a CUDA graph of 64 atoms"):
        assert model.first_graph() is None


def test_sizes_are_a_little_larger():
    for count in (0, 1, 63, 64, 65, 511, 512, 513, 10**6 + 1):
        size = padded_size(count)
        assert size >= max(count, 1)
        assert size - count <= max(64, count / 8)
