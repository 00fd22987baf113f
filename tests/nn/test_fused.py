import copy
import gc
import weakref

import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch_geometric.data import Batch

from schnetgeo.data import from_ase, with_edges
from schnetgeo.nn import MeanReadout, SchNet, ShiftedSoftplus, compiled, fused
from schnetgeo.nn.fused import EnergyAndSlope, derivatives
from schnetgeo.ops import reference
from schnetgeo.potential import Potential
from tests.nn.weights import is_fast, layered, randomize
from tests.structures import clusters, crystals


@pytest.fixture(autouse=True)
def _operators(monkeypatch):
    """`test_compiled` compares with them what stands for them elsewhere."""
    monkeypatch.setattr(compiled, "prepare", lambda *_: None)


few_examples = settings(max_examples=10, deadline=None, derandomize=True)
VARIANTS = {
    **{name: dict(preset=name, channels=8, num_basis=12, cutoff=4.0) for name in SchNet.presets},
    "in_bias": dict(in_bias=True),
    "mean": dict(readout=MeanReadout),
    "activated filters": dict(filter_last_activation=True),
    "silu": dict(readout_activation=nn.SiLU),
    "tanh": dict(activation=nn.Tanh),
    "gelu": dict(activation=nn.GELU, filter_last_activation=True),
    "one layer": dict(num_layers=1),
    "one channel": dict(channels=1, readout_channels=1),
    "everything": dict(
        in_bias=True, readout=MeanReadout, filter_last_activation=True, activation=nn.Tanh
    ),
}


def small(preset=None, **changes):
    arguments = {**dict(channels=8, num_layers=3, num_basis=8, cutoff=4.0), **changes}
    model = SchNet.preset(preset, **arguments) if preset else SchNet(**arguments)
    return randomize(model.double(), seed=1)


def rattled(atoms, seed=0):
    atoms = molecule(atoms) if isinstance(atoms, str) else atoms
    atoms.rattle(0.1, seed=seed)
    return atoms


def batch_of(*atoms):
    return Batch.from_data_list([from_ase(a) for a in atoms])


def crystals_and_atoms():
    """Two crystals, and structures in which no atom has a neighbor."""
    alone = Atoms("H", cell=[20, 20, 20], pbc=True)
    apart = Atoms("CO", [[0, 0, 0], [0, 0, 10]], cell=[30, 30, 30], pbc=True)
    first = rattled(bulk("NaCl", "rocksalt", a=5.0))
    return batch_of(alone, first, apart, rattled(bulk("Si") * (2, 1, 1)), alone)


def loss_of(prediction, weight=1.0):
    """Of energies, forces and stress alike, with gradients that differ from place to place."""
    total = 0.0
    for value in prediction:
        if value is not None:
            seed = torch.randn(value.shape, generator=torch.Generator().manual_seed(5)).double()
            total = total + (value.double() - seed).square().sum() + (seed * value).sum()
    return weight * total


def gradients(potential, data, **what):
    potential.zero_grad()
    prediction = potential(data, **what)
    loss_of(prediction).backward()
    named = {n: p.grad for n, p in potential.named_parameters()}
    return [p for p in prediction if p is not None], named


def assert_equal(found, expected, tolerance=1e-12):
    scale = max(float(expected.detach().abs().max()), 1e-3)
    torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=tolerance)


def assert_same_training(model, data, tolerance=1e-12, **what):
    assert is_fast(model)
    found = gradients(Potential(model, scale=1.7).train(), data, **what)
    expected = gradients(layered(Potential(model, scale=1.7)).train(), data, **what)
    for one, other in zip(found[0], expected[0], strict=True):
        assert_equal(one, other, tolerance)
    for name, gradient in expected[1].items():
        name = name.replace("filter.network", "filter")
        assert gradient is not None, name
        assert found[1][name] is not None, name
        assert_equal(found[1][name], gradient, tolerance)
    return found[1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_autograd(variant):
    """Energy, forces, stress, and the gradient of a loss on all three for every parameter."""
    found = assert_same_training(small(**VARIANTS[variant]), crystals_and_atoms(), stress=True)
    assert all(gradient.any() for gradient in found.values())


@few_examples
@given(atoms=st.lists(st.one_of(clusters(8), crystals(3)), min_size=1, max_size=4))
def test_equals_autograd_for_any_batch(atoms):
    assert_same_training(small(num_layers=2), batch_of(*atoms), 1e-11)


@pytest.mark.parametrize("variant", ["pyg", "everything", "one layer"])
def test_energies_alone(variant):
    assert_same_training(small(**VARIANTS[variant]), crystals_and_atoms(), forces=False)


def test_stress_alone():
    assert_same_training(small(), crystals_and_atoms(), forces=False, stress=True)


@pytest.mark.parametrize("forces", [False, True])
def test_atoms_without_any_edge(forces):
    """Nothing to convolve in the whole batch."""
    data = batch_of(Atoms("C"), Atoms("H"), Atoms("CO", [[0, 0, 0], [0, 0, 50]]))
    found = assert_same_training(small(), data, forces=forces)
    for name, gradient in found.items():
        assert torch.isfinite(gradient).all()
        if "filter" in name:
            assert not gradient.any()


def test_forces_alone_in_the_loss():
    """The energy's own gradient is zero then."""
    model, data = small(), batch_of(rattled("CH3CH2OH"))
    found, expected = [
        torch.autograd.grad(
            each.train()(data).forces.pow(2).sum(), list(each.parameters()),
            allow_unused=True, materialize_grads=True,
        )
        for each in (Potential(model), layered(Potential(model)))
    ]  # fmt: skip
    for one, other in zip(found, expected, strict=True):
        assert_equal(one, other)


def test_with_the_reference_operators(monkeypatch):
    monkeypatch.setattr("schnetgeo.ops.kernels", lambda like: reference)
    assert_same_training(small(), crystals_and_atoms(), stress=True)


def test_float32():
    model, data = small(num_layers=2), crystals_and_atoms()
    expected = gradients(Potential(model).train(), data, stress=True)
    found = gradients(Potential(copy.deepcopy(model)).float().train(), data, stress=True)
    assert found[0][1].dtype == torch.float32
    for one, other in zip(found[0], expected[0], strict=True):
        assert_equal(one.double(), other, 5e-5)
    for name, gradient in expected[1].items():
        assert found[1][name].dtype == torch.float32
        assert_equal(found[1][name].double(), gradient, 1e-4)


def test_backward_twice():
    potential = Potential(small()).train()
    loss = loss_of(potential(crystals_and_atoms(), stress=True))
    parameters = list(potential.parameters())
    first = torch.autograd.grad(loss, parameters, retain_graph=True)
    second = torch.autograd.grad(loss, parameters, retain_graph=True)
    half = torch.autograd.grad(0.5 * loss, parameters)
    for one, other, third in zip(first, second, half, strict=True):
        assert torch.equal(one, other)
        torch.testing.assert_close(third, 0.5 * one, rtol=1e-13, atol=0)


def test_gradients_add_up():
    """Over two batches, before an optimizer's step."""
    potential, data = Potential(small()).train(), batch_of(rattled("CH3OH"))
    alone = gradients(potential, data)[1]
    alone = {name: gradient.clone() for name, gradient in alone.items()}
    potential.zero_grad()
    for _ in range(2):
        loss_of(potential(data)).backward()
    for name, parameter in potential.named_parameters():
        torch.testing.assert_close(parameter.grad, 2 * alone[name], rtol=1e-13, atol=0)


def test_frozen_parameters_get_no_gradient():
    model = small()
    model.embedding.requires_grad_(False)
    model.interactions[0].conv.requires_grad_(False)
    data = batch_of(rattled("CH3OH"))
    expected = gradients(Potential(small()).train(), data)[1]
    found = gradients(Potential(model).train(), data)[1]
    for name, gradient in found.items():
        if "embedding" in name or "interactions.0.conv" in name:
            assert gradient is None
        else:
            torch.testing.assert_close(gradient, expected[name], rtol=0, atol=0)


def test_evaluation_keeps_nothing(monkeypatch):
    kept = []
    forward = EnergyAndSlope.forward
    monkeypatch.setattr(
        EnergyAndSlope,
        "forward",
        lambda ctx, *a: kept.append(weakref.ref(a[1])) or forward(ctx, *a),
    )
    prediction = Potential(small()).eval()(crystals_and_atoms(), stress=True)
    for value in prediction:
        assert not value.requires_grad
        assert value.grad_fn is None
    assert kept
    assert kept[0]() is None


@pytest.fixture
def without_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("what", [{}, {"forces": False}, {"stress": True}])
@pytest.mark.parametrize("step", [True, False])
def test_a_step_frees_its_tensors(monkeypatch, what, step):
    """Without the garbage collector: nothing refers to itself, after a backward pass or none."""
    kept = []
    tape_of = fused._forward

    def watched(*arguments):
        tape, y = tape_of(*arguments)
        kept.extend(map(weakref.ref, (y, tape.readout.q.both, *(a.p.both for a in tape.layers))))
        return tape, y

    monkeypatch.setattr(fused, "_forward", watched)
    potential, data = Potential(small()).train(), crystals_and_atoms()
    loss = loss_of(potential(data, **what))
    assert any(reference() is not None for reference in kept)
    if step:
        loss.backward()
    del loss
    assert [reference() for reference in kept] == len(kept) * [None]


@pytest.mark.parametrize(
    "activation", [ShiftedSoftplus, nn.SiLU, nn.Tanh, nn.ReLU, nn.Softplus, nn.Identity]
)
def test_derivatives_of_activations(activation):
    h = torch.tensor([-800.0, -41.0, -3.0, -1e-3, 0.2, 1.0, 39.0, 41.0, 800.0]).double()
    activation, out = activation(), torch.empty_like(h)

    def slope(x):
        return torch.func.jvp(activation, (x,), (torch.ones_like(x),))[1]

    first, second = derivatives(activation, h, out=out)
    torch.testing.assert_close(out, activation(h), rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(first, slope(h), rtol=1e-12, atol=1e-15)
    _, curvature = torch.func.jvp(slope, (h,), (torch.ones_like(h),))
    torch.testing.assert_close(second, curvature, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_bits_again(dtype):
    potential = Potential(small()).to(dtype).train()
    data = with_edges(crystals_and_atoms(), 4.0)
    runs = [gradients(potential, data, stress=True) for _ in range(2)]
    for one, other in zip(runs[0][0], runs[1][0], strict=True):
        assert torch.equal(one, other)
