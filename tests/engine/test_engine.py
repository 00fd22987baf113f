"""Which models the engine runs; whatever a user changes gives the same as filters='exact'."""

import copy
import functools
import os
import pickle
import types

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune
from torch_geometric.explain.algorithm.utils import clear_masks, set_masks
from torch_geometric.nn import MessagePassing

from schnetgeo.data import with_edges
from schnetgeo.engine.engine import Reading
from schnetgeo.nn import CFConv, CosineCutoff, GaussianBasis, PaiNNConv, RadialConv, SchNet
from schnetgeo.nn.interaction import Interaction
from schnetgeo.nn.mlp import ShiftedSoftplus
from schnetgeo.nn.readout import MeanReadout, SumReadout
from schnetgeo.potential import Potential
from tests.engine.potentials import (
    MODELS,
    SIZES,
    Gate,
    assert_near,
    assert_same_training,
    exact,
    methanol,
    potential_of,
    training_step,
)
from tests.nn.weights import randomize

FINE = 0.0025  # Å, where interpolation of these small models errs by less than 3e-7


def assert_as_exact(potential: Potential, training: bool = True):
    """Results and, in training, all gradients."""
    potential.train(training)
    other = exact(potential)
    torch.manual_seed(0)
    if training:
        found = training_step(potential, methanol())
        torch.manual_seed(0)
        assert_same_training(found, training_step(other, methanol()), 5e-7)
        return
    found = potential(methanol())
    torch.manual_seed(0)
    expected = other(methanol())
    assert_near(found.energy, expected.energy, 1e-9)
    assert_near(found.forces, expected.forces, 5e-7)


@pytest.mark.parametrize("name", MODELS)
def test_these_models_are_run_by_the_engine(name):
    potential = potential_of(name)
    reading = potential.engine.read(potential.model)
    assert isinstance(reading, Reading)
    assert reading.numba_refusal is None
    assert potential.engine.read(potential.model) is reading  # kept while nothing changes


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


class Options(CFConv):
    def __init__(self, channels, num_basis):
        super().__init__(channels, num_basis, activation=nn.Tanh)


class SquaredCutoff(CosineCutoff):
    def forward(self, distance):
        return super().forward(distance).square()


class SharpSoftplus(ShiftedSoftplus):
    def forward(self, x):
        return super().forward(2 * x)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "conv", [HalfUpdate, HalfForward, HalfPropagate, HalfAggregate, HalfMessage, HalfCall]
)
def test_overridden_methods_count(conv, training):
    potential = potential_of(conv=conv, spacing=FINE)
    assert_as_exact(potential, training)
    plain, halved = (p.eval()(methanol()).energy for p in (potential_of(), potential))
    assert abs(float(plain - halved)) > 1e-3


@pytest.mark.parametrize(
    "part",
    [dict(cutoff_fn=SquaredCutoff), dict(activation=SharpSoftplus), dict(conv=Options)],
    ids=str,
)
def test_subclasses_are_functions_of_their_own(part):
    assert_as_exact(potential_of(spacing=FINE, **part))


def message_of_instance(model):
    for interaction in model.interactions:
        conv = interaction.conv
        conv.message = types.MethodType(lambda self, x_j, W: 0.5 * x_j * W, conv)


def update_of_instance(model):
    conv = model.interactions[1].conv
    conv.update = types.MethodType(lambda self, inputs: 0.5 * inputs, conv)


def forward_of_conv(model):
    conv = model.interactions[0].conv
    conv.forward = types.MethodType(lambda self, *args: 0.5 * CFConv.forward(self, *args), conv)


def forward_of_layer(model):
    layer = model.interactions[1].lin2
    layer.forward = types.MethodType(lambda self, x: 2 * nn.Linear.forward(self, x), layer)


def forward_in_filter(model):
    layer = model.interactions[1].conv.filter[2]
    layer.forward = types.MethodType(lambda self, x: 2 * nn.Linear.forward(self, x), layer)


def forward_of_model(model):
    model.forward = types.MethodType(lambda self, data: 2 * SchNet.forward(self, data), model)


def weights_of_readout(model):
    half = lambda self, *batch: 0.5 * SumReadout.atom_weights(self, *batch)  # noqa: E731
    model.readout.atom_weights = types.MethodType(half, model.readout)


def flow(model):
    model.interactions[0].conv.flow = "target_to_source"


def other_gamma(model):
    model.basis.gamma *= 1.5


def other_basis(model):
    model.basis = GaussianBasis(8, 3.0)


class TrainedBasis(nn.Module):
    """Gaussians whose width is trained."""

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.tensor(3.0, dtype=torch.float64))
        self.register_buffer("centers", torch.linspace(0, 4, 8, dtype=torch.float64))

    def forward(self, distance):
        return torch.exp(-self.gamma * (distance.unsqueeze(-1) - self.centers).square())


def trained_basis(model):
    model.basis = TrainedBasis()


class TrainedCutoff(nn.Module):
    def __init__(self):
        super().__init__()
        self.power = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def forward(self, distance):
        return CosineCutoff(4.0)(distance).clamp(min=1e-12) ** self.power


def trained_cutoff_function(model):
    model.cutoff_fn = TrainedCutoff()


def trained_gamma(model):
    model.basis.gamma = nn.Parameter(torch.tensor(model.basis.gamma, dtype=torch.float64))


def trained_cutoff(model):
    model.cutoff_fn.cutoff = nn.Parameter(torch.tensor(4.0, dtype=torch.float64))


def tensor_gamma(model):
    model.basis.gamma = torch.tensor(model.basis.gamma, dtype=torch.float64)


def longer_cutoff(model):
    model.cutoff_fn, model.cutoff = CosineCutoff(5.0), 5.0


def mean(model):
    model.readout.__class__ = MeanReadout


def different_activations(model):
    """Of one class, but not one function in all layers."""
    for k, interaction in enumerate(model.interactions):
        interaction.activation = nn.Softplus(beta=1 + 4 * k)


def option_of_an_activation(model):
    for interaction in model.interactions:
        interaction.activation = nn.GELU()
    Potential(model)(methanol())
    model.interactions[1].activation.approximate = "tanh"
    model.interactions[0].activation = nn.Softplus(beta=3)


def in_place(model):
    for interaction in model.interactions:
        interaction.activation = nn.SiLU(inplace=True)


class Sharpened(nn.Module):
    def __init__(self):
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor(1.5).double())

    def forward(self, x):
        return torch.tanh(self.sharpness * x)


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


def weights_in_place(model):
    with torch.no_grad():
        model.interactions[0].lin1.weight.mul_(1.5)


def new_parameter(model):
    model.interactions[1].lin2.weight = nn.Parameter(torch.rand(8, 8).double())


def transposed_weight(model):
    """Whose numbers do not lie row by row."""
    model.interactions[1].lin2.weight = nn.Parameter(torch.rand(8, 8).double().t())


def tied_weight(model):
    """Of an atom's layer and of a filter."""
    model.interactions[0].conv.filter[2].weight = model.interactions[1].lin1.weight


def new_layer(model):
    model.interactions[0].lin3 = nn.Linear(8, 8).double()


def new_filter(model):
    model.interactions[0].conv.filter = nn.Sequential(
        *map(copy.deepcopy, model.interactions[0].conv.filter)
    )


def new_embedding(model):
    model.embedding = nn.Embedding(100, 8).double()


def padded_embedding(model):
    model.embedding = nn.Embedding(100, 8, padding_idx=6).double()


def small_embeddings(model):
    model.embedding.max_norm = 0.1


def pruned(model):
    """The order in which the layer registered its parameters is another now."""
    prune.l1_unstructured(model.interactions[0].lin2, "weight", 0.3)
    prune.remove(model.interactions[0].lin2, "weight")


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


def parametrized(model):
    parametrize.register_parametrization(model.interactions[1].lin1, "weight", Doubled())


def parametrized_for_a_while(model):
    layer = model.interactions[1].conv.filter[2]
    parametrize.register_parametrization(layer, "weight", Doubled())
    parametrize.remove_parametrizations(layer, "weight")


def narrow_filter(model):
    for interaction in model.interactions:
        filter = interaction.conv.filter
        filter[0], filter[2] = nn.Linear(8, 5).double(), nn.Linear(5, 8).double()


def deep_filter(model):
    first = model.interactions[0].conv
    first.filter = nn.Sequential(*first.filter, nn.Tanh(), nn.Linear(8, 8).double())


def linear_filter(model):
    model.interactions[1].conv.filter = nn.Linear(8, 8).double()


def wide_layers(model):
    for interaction in model.interactions:
        interaction.lin2, interaction.lin3 = nn.Linear(8, 12).double(), nn.Linear(12, 8).double()


def readout_without_bias(model):
    model.readout.lin1 = nn.Linear(8, 4, bias=False).double()
    model.readout.lin2.bias = None


class DoubledLinear(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Sideways(nn.Linear):
    def forward(self, x):
        return super().forward(x.flip(0))


def doubled_readout(model):
    model.readout.lin2 = DoubledLinear(4, 1).double()


def sideways(model):
    model.interactions[1].lin2.__class__ = Sideways


def weight_that_is_no_parameter(model):
    layer = model.interactions[0].lin2
    weight = layer.weight.detach()
    del layer.weight
    layer.weight = weight


def other_shape(model):
    for layer, shape in ((model.readout.lin1, (6, 8)), (model.readout.lin2, (1, 6))):
        layer.weight = nn.Parameter(torch.rand(shape).double())
    model.readout.lin1.bias = nn.Parameter(torch.rand(6).double())


def shared_layers(model):
    model.interactions[1] = model.interactions[0]


def other_state(model):
    model.load_state_dict(randomize(copy.deepcopy(model), seed=9).state_dict())


CHANGES = [
    message_of_instance, update_of_instance, forward_of_conv, forward_of_layer, forward_in_filter,
    forward_of_model, weights_of_readout, flow, other_gamma, other_basis, trained_basis,
    trained_cutoff_function, trained_gamma, trained_cutoff, tensor_gamma, longer_cutoff, mean,
    different_activations, option_of_an_activation, in_place, weights_in_place, new_parameter,
    transposed_weight, tied_weight, new_layer, new_filter, new_embedding, padded_embedding,
    small_embeddings, pruned, parametrized,
    parametrized_for_a_while, narrow_filter, deep_filter, linear_filter, wide_layers,
    readout_without_bias, doubled_readout, sideways, weight_that_is_no_parameter, other_shape,
    shared_layers, other_state,
    *map(of_activation, [SoftmaxGate, Normalized, Sharpened, nn.ReLU, nn.ELU, nn.LeakyReLU,
                         nn.Dropout, nn.RReLU, nn.Hardswish, nn.Identity]),
]  # fmt: skip


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_after_a_call_counts(change, training):
    potential = potential_of(spacing=FINE).train(training)
    before = potential(methanol()).energy  # what is remembered from it must not outlive
    change(potential.model)
    assert_as_exact(potential, training)
    same = bool((potential(methanol()).energy == before).all())
    unchanged = new_filter, tensor_gamma, padded_embedding
    assert not same or change in unchanged


RUN = [
    message_of_instance, update_of_instance, forward_of_conv, forward_of_layer, forward_in_filter,
    other_gamma, other_basis, longer_cutoff, mean, weights_in_place, new_layer, pruned,
    transposed_weight, tied_weight,
    parametrized_for_a_while, narrow_filter, deep_filter, linear_filter, wide_layers,
    readout_without_bias, doubled_readout, other_shape, shared_layers, of_activation(Normalized),
]  # fmt: skip


@pytest.mark.parametrize("change", RUN)
def test_these_changes_are_run_by_the_engine_too(change):
    potential = potential_of()
    change(potential.model)
    assert potential.reading() is not None


@pytest.mark.parametrize("change", [trained_gamma, trained_cutoff, trained_basis])
def test_trained_parts_get_their_gradient(change):
    potential = potential_of()
    change(potential.model)
    potential(methanol(), forces=False).energy.sum().backward()
    assert not [name for name, p in potential.named_parameters() if p.grad is None]


def test_a_basis_may_begin_to_train():
    potential = potential_of()
    trained_basis(potential.model)
    gamma = potential.model.basis.gamma.requires_grad_(False)
    assert potential(methanol()).forces.any()
    assert potential.reading() is not None
    gamma.requires_grad_()
    potential(methanol()).forces.square().sum().backward()
    assert gamma.grad
    assert_as_exact(potential)


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
    (MessagePassing, "update", Mine), (SumReadout, "forward", None), (Gate, "message", Gate),
    (SumReadout, "atom_weights", None), (SchNet, "atomic_values", None),
    (Interaction, "forward", None), (GaussianBasis, "forward", None),
    (CosineCutoff, "forward", None), (nn.Linear, "forward", None), (nn.Tanh, "forward", Options),
    (ShiftedSoftplus, "forward", None), (nn.Embedding, "forward", None), (SchNet, "forward", None),
])  # fmt: skip
def test_a_function_put_on_a_class_counts(cls, name, conv, training, monkeypatch):
    potential = potential_of(spacing=FINE, conv=conv).train(training)
    before = potential(methanol()).forces
    with monkeypatch.context() as patch:
        # PyG looks at the arguments of message and update when a layer is built
        double = functools.wraps(getattr(cls, name))(times(2, getattr(cls, name)))
        patch.setattr(cls, name, double)
        assert_as_exact(potential, training)
        assert not torch.allclose(potential(methanol()).forces, before, rtol=0.05)
    assert torch.equal(potential(methanol()).forces, before)


def test_a_cutoff_function_of_an_instance_counts():
    potential = potential_of(spacing=FINE)
    before = potential(methanol()).energy
    potential.model.cutoff_fn.forward = SquaredCutoff(4.0).forward
    assert_as_exact(potential)
    assert not torch.equal(potential(methanol()).energy, before)


@pytest.mark.parametrize("activation", [nn.Dropout, nn.RReLU, nn.SiLU])
def test_reading_a_model_draws_no_random_numbers(activation):
    potential = potential_of(activation=activation)
    torch.manual_seed(0)
    potential.reading()
    drawn = torch.rand(3)
    assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(0)))


def test_a_function_put_on_a_subclass_of_the_model_counts(monkeypatch):
    potential = Potential(randomize(MineOfSchNet(**SIZES).double(), seed=1)).eval()
    before = potential(methanol()).forces
    monkeypatch.setattr(MineOfSchNet, "forward", times(2, SchNet.forward))
    assert_near(potential(methanol()).forces, 2 * before, 1e-3)


def test_a_change_of_painn_counts(monkeypatch):
    potential = potential_of("PaiNN", spacing=FINE)
    before = potential(methanol()).energy
    potential.model.interactions[0].mix.weight = nn.Parameter(torch.rand(16, 8).double())
    assert_as_exact(potential)
    message = PaiNNConv.message

    def double(self, x_j, v_j, W, edge_unit):
        return message(self, x_j, v_j, 2 * W, edge_unit)

    monkeypatch.setattr(PaiNNConv, "message", double)
    assert_as_exact(potential)
    assert not torch.equal(potential(methanol()).energy, before)


# ---------------------------------------------------------------- who looks on


def message_hook(model, seen):
    model.interactions[1].conv.register_message_forward_hook(lambda *a: seen.append(a[-1].shape))


def explain(model, seen):
    data = with_edges(methanol(), 4.0)
    mask = nn.Parameter(torch.ones(data.num_edges).double())
    mask.register_hook(seen.append)
    set_masks(model, mask, data.edge_index, apply_sigmoid=False)


def backward_hook(model, seen):
    model.interactions[0].lin3.register_full_backward_hook(lambda *_: seen.append(1))


def part_hook(name):
    def register(model, seen):
        model.get_submodule(name).register_forward_hook(lambda *a: seen.append(a[-1].shape))

    register.__name__ = f"hook of {name}"
    return register


PARTS = ["", "interactions.0", "interactions.1.lin2", "interactions.0.conv",
         "interactions.0.conv.filter.1", "readout.activation", "readout"]  # fmt: skip


@pytest.mark.parametrize(
    "watch", [message_hook, explain, backward_hook, *map(part_hook, PARTS)],
    ids=lambda watch: watch.__name__,
)  # fmt: skip
def test_hooks_and_explainers_see_what_they_watch(watch):
    """The layers run one by one then, with the same result as filters without knots."""
    potential, seen = potential_of(), []
    expected = exact(potential)(methanol())
    watch(potential.model, seen)
    found = potential(methanol())
    (found.energy.sum() + found.forces.square().sum()).backward()
    assert seen
    torch.testing.assert_close(found.energy, expected.energy, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.forces, expected.forces, rtol=1e-11, atol=1e-11)
    assert potential.reading() is None


def test_explainers_see_messages_of_vectors():
    """A mask of the edges that are all as they are changes nothing, and one of none leaves none."""
    potential = potential_of("PaiNN")
    data, model = with_edges(methanol(), 4.0), potential.model
    expected = model(data)
    mask = torch.ones(data.num_edges, dtype=torch.float64, requires_grad=True)
    set_masks(model, mask, data.edge_index, apply_sigmoid=False)
    found = model(data)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(found.sum(), mask)
    assert gradient.all()
    set_masks(model, 0 * mask, data.edge_index, apply_sigmoid=False)
    alone = data.clone()
    alone.edge_index, alone.edge_shift = data.edge_index[:, :0], None
    unmasked = model(data)
    clear_masks(model)
    torch.testing.assert_close(unmasked, model(alone), rtol=1e-12, atol=1e-12)


def test_hooks_of_gradients_are_called():
    """They see the whole gradient, and may change it."""
    potential = potential_of()
    weight, seen = potential.model.interactions[0].lin1.weight, []
    weight.register_hook(lambda gradient: seen.append(gradient) or 2 * gradient)
    assert potential.reading() is not None
    _, gradients = training_step(potential, methanol())
    assert torch.equal(2 * seen[0], gradients["model.interactions.0.lin1.weight"])
    assert len(seen) == 1


def test_a_global_hook_sees_the_layers():
    potential, seen = potential_of(), set()
    handle = nn.modules.module.register_module_forward_hook(lambda m, *_: seen.add(type(m)))
    try:
        potential.eval()(methanol())
    finally:
        handle.remove()
    assert {nn.Linear, CFConv} <= seen
    assert potential.reading() is not None


def test_edge_masks_lie_on_the_edges_of_the_data():
    model = potential_of().model
    data = with_edges(methanol(), 4.0)
    order = torch.randperm(data.num_edges, generator=torch.Generator().manual_seed(3))
    other = data.clone()
    other.edge_index, other.edge_shift = data.edge_index[:, order], data.edge_shift[order]
    del other.edge_reverse
    mask, energies = torch.linspace(0, 1, data.num_edges).double(), []
    for structure, values in ((data, mask), (other, mask[order])):
        set_masks(model, nn.Parameter(values), structure.edge_index, apply_sigmoid=False)
        energies.append(Potential(model).eval()(structure).energy)
        clear_masks(model)
    torch.testing.assert_close(*energies, rtol=1e-12, atol=1e-12)
    assert abs(energies[0] - Potential(model).eval()(data).energy) > 1e-4
    assert Potential(model).reading() is not None  # again, when the masks are gone


# ------------------------------------------------------- modes, types and copies


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["SchNet", "PaiNN"])
def test_half_precision_has_no_splines(dtype, name):
    """Interpolation would lose several times more than the exact filters do."""
    potential = potential_of(name).to(dtype).eval()
    assert torch.equal(potential(methanol()).forces, exact(potential)(methanol()).forces)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_autocast_leaves_what_the_engine_runs(name, training):
    potential = potential_of(name).float().train(training)
    expected = potential(methanol())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = potential(methanol())
        if training:
            (found.energy.sum() + found.forces.square().sum()).backward()
    assert torch.equal(found.forces, expected.forces)


def weights_of(potential):
    with torch.no_grad():
        next(potential.model.parameters()).mul_(1.5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("again", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copies_compute_with_their_own_parts(again, name):
    potential = potential_of(name, spacing=FINE)
    before = potential(methanol())
    other = again(potential)
    assert torch.equal(other(methanol()).forces, before.forces)
    weights_of(other)
    assert_as_exact(other)
    assert torch.equal(potential(methanol()).energy, before.energy)
    assert not torch.equal(other(methanol()).energy, before.energy)


@pytest.mark.parametrize("name", MODELS)
def test_another_type_after_a_call(name):
    potential = potential_of(name)
    double = potential(methanol())
    single = potential.float()(methanol())
    assert single.forces.dtype == torch.float32
    assert_near(single.forces, double.forces, 1e-4)
    assert_near(potential.double()(methanol()).forces, double.forces, 1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_fixed_parameters_get_no_gradient(name):
    potential = potential_of(name)
    expected = training_step(potential, methanol())[1]
    fixed = list(dict(potential.named_parameters()))[:3]
    for parameter in fixed:
        potential.get_parameter(parameter).requires_grad_(False)
    for parameter, gradient in training_step(potential, methanol())[1].items():
        if parameter in fixed:
            assert gradient is None, parameter
        else:
            assert_near(gradient, expected[parameter], 1e-12, parameter)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_modes_without_gradients(name, mode):
    potential = potential_of(name)
    expected = potential(methanol(), forces=True)
    with mode():
        found = potential(methanol())
    assert not found.energy.requires_grad
    assert not found.forces.requires_grad
    assert torch.equal(found.forces, expected.forces)
    potential(methanol()).forces.square().sum().backward()  # what a mode left must not stop it
    assert potential.model.embedding.weight.grad is not None


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_keeps_nothing(name):
    prediction = potential_of(name).eval()(methanol())
    for value in (prediction.energy, prediction.forces):
        assert value.grad_fn is None
        assert not value.requires_grad


@pytest.mark.parametrize("name", MODELS)
def test_positions_that_are_differentiated_go_through_autograd(name):
    potential, data = potential_of(name).eval(), methanol()
    data.pos.requires_grad_()
    (gradient,) = torch.autograd.grad(potential(data, forces=False).energy.sum(), data.pos)
    assert_near(-gradient, exact(potential)(methanol()).forces, 1e-10)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("name", ["SchNet", "PaiNN"])
def test_a_child_of_fork_computes_the_same(name):
    potential = potential_of(name)
    expected = training_step(potential, methanol())
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            results, _ = training_step(potential, methanol())
            os.write(writer, b"same" if torch.equal(results[1], expected[0][1]) else b"other")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read() == b"same"
    os.waitpid(child, 0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["SchNet", "Gate"])
def test_torch_compile(name):
    """Of the model and of the potential, without edges in the data."""
    potential, data = potential_of(name), methanol()
    torch._dynamo.reset()
    compiled = torch.compile(potential.model, backend="aot_eager")
    torch.testing.assert_close(compiled(data), potential.model(data), rtol=1e-12, atol=1e-12)
    found, expected = torch.compile(potential, backend="aot_eager")(data), potential(data)
    torch.testing.assert_close(found.forces, expected.forces, rtol=1e-12, atol=1e-12)
    found.forces.square().sum().backward()
    assert potential.model.embedding.weight.grad is not None
    torch._dynamo.reset()


@pytest.mark.parametrize("name", MODELS)
def test_the_backward_pass_can_be_repeated(name):
    potential = potential_of(name)
    parameters = list(potential.parameters())
    prediction = potential(methanol())
    loss = prediction.energy.square().sum() + prediction.forces.square().sum()
    once = torch.autograd.grad(loss, parameters, retain_graph=True)
    potential(with_edges(methanol(), 4.0))  # another pass in between
    again = torch.autograd.grad(loss, parameters, retain_graph=True)
    half = torch.autograd.grad(0.5 * loss, parameters)
    for one, other, third in zip(once, again, half, strict=True):
        assert torch.equal(one, other)
        assert_near(third, 0.5 * one, 1e-13)


def test_a_weight_changed_between_the_passes_is_an_error():
    potential = potential_of()
    loss = potential(methanol()).forces.square().sum()
    weights_in_place(potential.model)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
