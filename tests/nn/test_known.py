"""The fast path is taken only by what it provably computes: all else equals filters='exact'."""

import copy
import functools
import types

import pytest
import torch
from ase.build import molecule
from torch import nn
from torch_geometric.explain.algorithm.utils import clear_masks, set_masks
from torch_geometric.nn import MessagePassing

from schnetgeo.data import from_ase, with_edges
from schnetgeo.errors import InputError
from schnetgeo.nn import CFConv, CosineCutoff, GaussianBasis, RadialConv, SchNet
from schnetgeo.nn.interaction import Interaction
from schnetgeo.nn.known import is_smooth_network
from schnetgeo.nn.mlp import ShiftedSoftplus
from schnetgeo.nn.readout import MeanReadout, SumReadout
from schnetgeo.potential import Potential
from tests.nn.weights import is_fast, randomize

SPLINE = dict(rtol=0, atol=2e-3)  # what interpolation may cost here


def small(**changes):
    arguments = dict(channels=8, num_layers=2, num_basis=12, cutoff=4.0)
    return randomize(SchNet(**{**arguments, **changes}).double(), seed=1)


def of(model, filters="spline"):
    return Potential(model, filters=filters, spacing=0.01)


def data_of(name="CH3OH"):
    atoms = molecule(name)
    atoms.rattle(0.1, seed=0)
    return from_ase(atoms)


def results(potential, training):
    """Energy and forces, and the gradients of a loss on both for what can be trained."""
    potential = copy.deepcopy(potential).train(training)
    torch.manual_seed(0)
    prediction = potential(data_of())
    values = [prediction.energy.detach(), prediction.forces.detach()]
    if training:
        (prediction.energy.sum() + prediction.forces.square().sum()).backward()
        named = potential.named_parameters()
        values += [torch.zeros_like(p) if p.grad is None else p.grad for _, p in named]
    return values


def assert_as_exact(potential, training):
    exact = of(potential.model, "exact")
    for found, expected in zip(results(potential, training), results(exact, training), strict=True):
        scale = max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(found / scale, expected / scale, **SPLINE)


class HalfUpdate(CFConv):
    def update(self, inputs):
        return 0.5 * inputs


class HalfForward(CFConv):
    def forward(self, x, *edges):
        return 0.5 * super().forward(x, *edges)


class HalfPropagate(CFConv):
    def propagate(self, *arguments, **named):
        return 0.5 * super().propagate(*arguments, **named)


class HalfAggregate(CFConv):
    def aggregate(self, inputs, index, edge_weight, dim_size):
        return 0.5 * super().aggregate(inputs, index, edge_weight, dim_size)


class HalfMessage(CFConv):
    def message(self, x_j, W):
        return 0.5 * x_j * W


class HalfCall(CFConv):
    def __call__(self, *arguments, **named):
        return 0.5 * super().__call__(*arguments, **named)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "conv", [HalfUpdate, HalfForward, HalfPropagate, HalfAggregate, HalfMessage, HalfCall]
)
def test_overridden_methods_count(conv, training):
    potential = of(small(conv=conv))
    assert not potential.is_fast
    assert_as_exact(potential, training)
    plain, halved = results(of(small()), False)[0], results(potential, False)[0]
    assert abs(float(plain - halved)) > 1e-3


class Options(CFConv):
    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis, activation=nn.Tanh)


def test_a_subclass_that_only_builds_stays_fast():
    """Also after instances, to whose classes PyG adds what it generates."""
    potential = of(small(conv=Options))
    assert potential.is_fast
    assert of(small(conv=Options)).is_fast
    assert_as_exact(potential, True)


def message_of_instance(model):
    for interaction in model.interactions:
        conv = interaction.conv
        conv.message = types.MethodType(lambda self, x_j, W: 0.5 * x_j * W, conv)


def update_of_instance(model):
    conv = model.interactions[1].conv
    conv.update = types.MethodType(lambda self, inputs: 0.5 * inputs, conv)


def forward_of_conv(model):
    conv = model.interactions[0].conv
    conv.forward = types.MethodType(lambda self, *given: 0.5 * CFConv.forward(self, *given), conv)


def forward_of_layer(model):
    layer = model.interactions[1].lin2
    layer.forward = types.MethodType(lambda self, x: 2 * nn.Linear.forward(self, x), layer)


def forward_in_filter(model):
    layer = model.interactions[1].conv.filter[2]
    layer.forward = types.MethodType(lambda self, x: 2 * nn.Linear.forward(self, x), layer)


def weights_of_readout(model):
    half = lambda self, *batch: 0.5 * SumReadout.atom_weights(self, *batch)  # noqa: E731
    model.readout.atom_weights = types.MethodType(half, model.readout)


def flow(model):
    model.interactions[0].conv.flow = "target_to_source"


def other_gamma(model):
    model.basis.gamma *= 1.5


def other_basis(model):
    model.basis = GaussianBasis(12, 3.0)


class TrainedBasis(nn.Module):
    """Gaussians whose width is learned."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.tensor(3.0, dtype=torch.float64))
        self.register_buffer("centers", torch.linspace(0, 4, 12, dtype=torch.float64))

    def forward(self, distance):
        return torch.exp(-self.gamma * (distance.unsqueeze(-1) - self.centers).square())


def trained_basis(model):
    model.basis = TrainedBasis()


class TrainedEnvelope(nn.Module):
    def __init__(self):
        super().__init__()
        self.power = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def forward(self, distance):
        return CosineCutoff(4.0)(distance).clamp(min=1e-12) ** self.power


def trained_envelope(model):
    model.cutoff_fn = TrainedEnvelope()


def trained_gamma(model):
    model.basis.gamma = nn.Parameter(torch.tensor(model.basis.gamma, dtype=torch.float64))


def trained_cutoff(model):
    model.cutoff_fn.cutoff = nn.Parameter(torch.tensor(4.0, dtype=torch.float64))


def tensor_gamma(model):
    model.basis.gamma = torch.tensor(model.basis.gamma, dtype=torch.float64)


def longer_envelope(model):
    model.cutoff_fn, model.cutoff = CosineCutoff(5.0), 5.0


def mean(model):
    model.readout.__class__ = MeanReadout


def sharp_softplus(model):
    """Of one class, but not one function in all layers."""
    for k, interaction in enumerate(model.interactions):
        interaction.activation = nn.Softplus(beta=1 + 4 * k)


def written_to_later(model):
    for interaction in model.interactions:
        interaction.activation = nn.GELU()
    assert is_fast(model)
    model.interactions[1].activation.approximate = "tanh"
    model.interactions[0].activation = nn.Softplus(beta=3)


def in_place(model):
    for interaction in model.interactions:
        interaction.activation = nn.SiLU(inplace=True)


class SoftmaxGate(nn.Module):
    def forward(self, x):
        return x * x.softmax(-1)


class Normalized(nn.Module):
    def forward(self, x):
        return nn.functional.layer_norm(x, x.shape[-1:])


def of_activation(cls):
    def change(model):
        for interaction in model.interactions:
            interaction.activation = cls()
            interaction.conv.filter[1] = cls()

    change.__name__ = cls.__name__
    return change


CHANGES = [
    message_of_instance, update_of_instance, forward_of_conv, forward_of_layer, forward_in_filter,
    weights_of_readout, flow, other_gamma, other_basis, trained_basis, trained_envelope,
    trained_gamma, trained_cutoff, tensor_gamma, longer_envelope, mean, sharp_softplus,
    written_to_later, in_place,
    *map(of_activation, [SoftmaxGate, Normalized, nn.ReLU, nn.ELU, nn.Dropout, nn.Hardswish]),
]  # fmt: skip


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_counts(change, training):
    potential = of(small())
    potential.train(training)(data_of())  # what is remembered from it must not outlive
    change(potential.model)
    assert_as_exact(potential, training)


@pytest.mark.parametrize("change", [trained_gamma, trained_cutoff])
def test_a_trained_width_or_cutoff_gets_its_gradient(change):
    model = small()
    change(model)
    Potential(model).train()(data_of(), forces=False).energy.sum().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]


class Mine(CFConv):
    pass


class MineOfSchNet(SchNet):
    pass


def times(factor, function):
    return lambda *arguments, **named: factor * function(*arguments, **named)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("cls", "name", "conv"), [
    (CFConv, "message", None), (CFConv, "update", None), (CFConv, "propagate", None),
    (CFConv, "aggregate", Options), (RadialConv, "aggregate", None), (RadialConv, "forward", None),
    (Mine, "message", Mine), (Mine, "propagate", Mine), (Mine, "forward", Mine),
    (MessagePassing, "update", Mine), (SumReadout, "forward", None),
    (SumReadout, "atom_weights", None), (SchNet, "atomic_values", None),
    (Interaction, "forward", None), (GaussianBasis, "forward", None),
    (CosineCutoff, "forward", None), (nn.Linear, "forward", None), (nn.Tanh, "forward", Options),
    (ShiftedSoftplus, "forward", None), (nn.Embedding, "forward", None), (SchNet, "forward", None),
])  # fmt: skip
def test_a_function_put_on_a_class_counts(cls, name, conv, training, monkeypatch):
    potential = of(small(conv=conv))
    before = results(potential, False)[1]
    with monkeypatch.context() as patch:
        # PyG looks at the arguments of message and update when a layer is built
        double = functools.wraps(getattr(cls, name))(times(2, getattr(cls, name)))
        patch.setattr(cls, name, double)
        assert not potential.is_fast
        assert_as_exact(potential, training)
        assert not torch.allclose(results(potential, False)[1], before, rtol=0.05)
    assert potential.is_fast


def test_a_function_put_on_a_subclass_of_the_model_counts(monkeypatch):
    arguments = dict(channels=8, num_layers=2, num_basis=12, cutoff=4.0)
    model = randomize(MineOfSchNet(**arguments).double(), seed=1)
    assert is_fast(model)
    monkeypatch.setattr(MineOfSchNet, "forward", times(2, SchNet.forward))
    doubled = Potential(model).eval()(data_of()).forces
    monkeypatch.undo()
    torch.testing.assert_close(doubled, 2 * Potential(model)(data_of()).forces, **SPLINE)


@pytest.mark.parametrize(
    ("network", "smooth"),
    [
        (nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 4)), True),
        (nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.GELU(), nn.Linear(4, 2))), True),
        (nn.Linear(3, 4), True),
        (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), False),
        (nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.0)), False),
        (nn.Sequential(nn.Linear(3, 4), nn.RReLU()), False),
        (nn.Sequential(nn.Linear(3, 4), nn.LeakyReLU()), False),
        (nn.Sequential(nn.Linear(3, 4), nn.Softplus(threshold=1)), False),
        (nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)), False),
    ],
)
def test_networks_that_may_run_on_knots(network, smooth):
    assert is_smooth_network(network) == smooth


def test_a_global_hook_sees_the_layers():
    model, seen = small(), set()
    handle = nn.modules.module.register_module_forward_hook(lambda m, *_: seen.add(type(m)))
    try:
        Potential(model).eval()(data_of())
    finally:
        handle.remove()
    assert {nn.Linear, CFConv} <= seen
    assert is_fast(model)


def test_edge_masks_lie_on_the_edges_that_were_given():
    model = small()
    data = with_edges(data_of(), 4.0)
    order = torch.randperm(data.num_edges, generator=torch.Generator().manual_seed(3))
    other = data.clone()
    other.edge_index, other.edge_shift = data.edge_index[:, order], data.edge_shift[order]
    del other.edge_reverse
    mask, energies = torch.linspace(0, 1, data.num_edges).double(), []
    for given, values in ((data, mask), (other, mask[order])):
        set_masks(model, nn.Parameter(values), given.edge_index, apply_sigmoid=False)
        energies.append(model(given).detach())
        clear_masks(model)
    torch.testing.assert_close(*energies, rtol=1e-12, atol=1e-12)
    assert abs(energies[0] - model(data)) > 1e-4
    assert is_fast(model)  # again, when the masks are gone


def test_a_message_hook_sees_the_order_that_was_given():
    model, seen = small(), []
    data = with_edges(data_of(), 4.0)
    other = data.clone()
    other.edge_index, other.edge_shift = data.edge_index.flip(1), data.edge_shift.flip(0)
    del other.edge_reverse
    hook = model.interactions[1].conv.register_message_forward_hook(lambda *a: seen.append(a[-1]))
    model(data), model(other)
    hook.remove()
    torch.testing.assert_close(seen[0], seen[1].flip(0), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_has_no_splines(dtype):
    """Interpolation would lose several times more than the exact filters do."""
    potential, exact = of(small()).to(dtype).eval(), of(small(), "exact").to(dtype).eval()
    spline, layers = potential(data_of()), exact(data_of())
    assert not potential.is_fast
    assert torch.equal(spline.forces, layers.forces)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("changes", [{}, dict(conv=HalfMessage)], ids=str)
def test_autocast(changes, training):
    potential = Potential(small(**changes).float()).train(training)
    expected = potential(data_of())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = potential(data_of())
        if training:
            (found.energy.sum() + found.forces.square().sum()).backward()
    if not changes:
        assert torch.equal(found.forces, expected.forces)
    scale = float(expected.forces.abs().max())
    assert float((found.forces - expected.forces).abs().max()) < 0.1 * scale


@pytest.mark.parametrize("small_embedding", [False, True])
@pytest.mark.parametrize("forces", [False, True])
def test_second_derivatives_in_the_parameters_are_refused(forces, small_embedding):
    """Wherever they come from: a penalty on the gradient is not left out without a word."""
    potential, data = Potential(small()).train(), data_of()
    prediction = potential(data, forces=forces)
    loss = prediction.energy.sum()  # whose own gradient is constant
    if forces:
        loss = loss + prediction.forces.square().sum()
    wanted = list(potential.parameters())
    if small_embedding:
        wanted = wanted[:1]
    first = torch.autograd.grad(loss, wanted, create_graph=True)
    plain = torch.autograd.grad(_loss(potential, forces), wanted)
    for one, other in zip(first, plain, strict=True):
        assert torch.equal(one, other)
    with pytest.raises(InputError, match="second derivative in the parameters.*filters='exact'"):
        torch.autograd.grad(sum(g.square().sum() for g in first), wanted)


def _loss(potential, forces):
    prediction = potential(data_of(), forces=forces)
    loss = prediction.energy.sum()
    return loss + prediction.forces.square().sum() if forces else loss


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("changes", [{}, dict(conv=HalfMessage)], ids=str)
def test_torch_compile(changes):
    """Of the model and of the potential, without edges in the data."""
    model, data = small(**changes), data_of()
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager")
    torch.testing.assert_close(compiled(data), model(data), rtol=1e-12, atol=1e-12)
    potential = Potential(model).train()
    found, expected = torch.compile(potential, backend="aot_eager")(data), potential(data)
    torch.testing.assert_close(found.forces, expected.forces, rtol=1e-12, atol=1e-12)
    found.forces.square().sum().backward()
    assert potential.model.embedding.weight.grad is not None
    torch._dynamo.reset()
