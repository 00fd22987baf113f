"""A program is read again once a model could compute something else."""

import types
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from schnetgeo.engine.lowering.lower import Lowered, Refusal, lower
from schnetgeo.nn.conv import RadialConv
from tests.engine.models import F, K, Model, cfconv, interaction, of_conv
from tests.engine.test_lowering import check

SCALE = 2.0
FACTORS = [1.0, 2.0]


def scaled(x):
    return SCALE * x * FACTORS[0]


class Settings:
    def __init__(self):
        self.factor = 3.0
        self.names = {"a": [1.0]}


class Free(RadialConv):
    """A layer that reads all that a layer can read."""

    shift = 0.5
    numbers = (1.0, 2.0)

    def __init__(self):
        super().__init__(F, K)
        self.filter = nn.Linear(K, F)
        self.settings = Settings()
        self.widths = [F, F]
        self.power = 2
        self.function = partial(torch.mul, 2.0)
        offset = [0.1]
        self.closure = lambda x: x + offset[0]
        self.offset = offset
        self.norm = nn.LayerNorm(F)

    def message(self, x_j, W):
        y = self.closure(scaled(self.norm(x_j)) ** self.power) + self.shift * self.numbers[0]
        return y * self.settings.factor * self.settings.names["a"][0] * W


@pytest.fixture
def model():
    return of_conv(Free())


def conv(model):
    return model.blocks[0].conv


def patch_message(self, x_j, W):
    return x_j * W * W


CHANGES = {
    "number": lambda m: setattr(conv(m), "power", 3),
    "number of an object": lambda m: setattr(conv(m).settings, "factor", 4.0),
    "list in a dictionary in an object": lambda m: conv(m).settings.names["a"].append(2.0),
    "list": lambda m: conv(m).widths.__setitem__(0, 3),
    "object": lambda m: setattr(conv(m), "settings", Settings()),
    "closure": lambda m: conv(m).offset.__setitem__(0, 0.2),
    "new attribute": lambda m: setattr(conv(m), "new", 1),
    "module": lambda m: setattr(m.blocks[0], "lin1", nn.Linear(F, F)),
    "new module": lambda m: setattr(m.blocks[0], "lin4", nn.Linear(F, F)),
    "activation": lambda m: setattr(m.blocks[0], "activation", nn.Tanh()),
    "layer in a list": lambda m: m.blocks.append(interaction(cfconv())),
    "weight": lambda m: setattr(m.blocks[0].lin1, "weight", nn.Parameter(torch.ones(F, F))),
    "bias": lambda m: setattr(m.blocks[0].lin2, "bias", None),
    "shape": lambda m: setattr(m.blocks[0].lin2.weight, "data", torch.ones(F, 3)),
    "dtype": lambda m: m.float(),
    "device": lambda m: m.to("meta"),
    "mode": lambda m: m.eval(),
    "option": lambda m: setattr(conv(m).norm, "eps", 1e-3),
    "hook": lambda m: m.blocks[0].lin1.register_forward_hook(lambda *_: None),
    "backward hook": lambda m: m.register_full_backward_hook(lambda *_: None),
    "hook of a message": lambda m: conv(m).register_message_forward_hook(lambda *_: None),
    "function of an instance": lambda m: setattr(
        conv(m), "message", types.MethodType(patch_message, conv(m))
    ),
    "forward of an instance": lambda m: setattr(m.blocks[0].lin1, "forward", lambda x: x),
    "parametrization": lambda m: parametrize.register_parametrization(
        m.blocks[0].lin1, "weight", nn.Tanh()
    ),
    "class": lambda m: setattr(m.blocks[0].activation, "__class__", nn.Identity),
    "explanation": lambda m: setattr(conv(m), "explain", True),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_noticed(model, name):
    watch = check(model).watch
    assert not watch.changed()
    CHANGES[name](model)
    assert watch.changed()


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        (Free, "message", patch_message),
        (Free, "shift", 1.0),
        (nn.Linear, "forward", nn.Linear.forward.__get__),
        (nn.Module, "__call__", lambda self, *args: args[0]),
        (globals(), "SCALE", 3.0),
        (globals(), "scaled", lambda x: x),
    ],
    ids=["message", "number", "torch", "all modules", "global number", "global function"],
)
def test_changes_of_code_are_noticed(model, monkeypatch, owner, name, value):
    watch = check(model).watch
    with monkeypatch.context() as patch:
        set_value = patch.setitem if isinstance(owner, dict) else patch.setattr
        set_value(owner, name, value)
        assert watch.changed()
    assert not watch.changed()


def test_a_list_that_is_global_is_noticed(model):
    watch = check(model).watch
    FACTORS[0] = 5.0
    assert watch.changed()
    check(model)
    FACTORS[0] = 1.0
    assert not watch.changed()


def test_hooks_of_all_modules_are_noticed(model):
    watch = lower(model).watch
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert watch.changed()
        assert "hooks sit on all modules" in lower(model).reason
    finally:
        handle.remove()
    assert not watch.changed()


def test_numbers_of_parameters_may_change(model):
    lowered = lower(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1).requires_grad_(False)
    model.load_state_dict(of_conv(Free()).state_dict())
    assert not lowered.watch.changed()
    check(model)


@pytest.mark.parametrize("name", ["function of an instance", "forward of an instance", "option"])
def test_a_changed_model_is_read_as_it_is(model, name):
    before = lower(model).program
    CHANGES[name](model)
    assert check(model).program != before


def test_a_basis_that_begins_to_train_is_noticed(model):
    model.basis.width = nn.Parameter(torch.ones(1, dtype=torch.float64), requires_grad=False)
    watch = check(model).watch
    model.basis.requires_grad_()
    assert watch.changed()
    assert "basis.width is a parameter that trains" in lower(model).reason


REFUSED = {
    "hook": "Linear (blocks.0.lin1) has a hook",
    "hook of a message": "Free (blocks.0.conv) has a hook",
    "parametrization": "a linear layer whose weight is no parameter, but computed",
    "shape": "autograd runs",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_after_the_change(model, name):
    CHANGES[name](model)
    refusal = lower(model)
    assert isinstance(refusal, Refusal)
    assert REFUSED[name] in refusal.reason
    assert not refusal.watch.changed()


def test_a_removed_hook_is_noticed(model):
    handle = model.blocks[0].lin1.register_forward_hook(lambda *_: None)
    refusal = lower(model)
    handle.remove()
    assert refusal.watch.changed()
    assert isinstance(lower(model), Lowered)


class Slots:
    __slots__ = ("value",)


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1.0

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Rounded(nn.Module):
    def forward(self, x, edges):
        return Straight.apply(x)


def test_what_cannot_be_watched_is_refused(model):
    conv(model).slots = Slots()
    assert "slots is a Slots, which may change unseen" in lower(model).reason
    assert "Straight is an autograd.Function" in lower(Model(Rounded())).reason


def test_a_function_of_autograd_is_refused_wherever_it_hides():
    layer = nn.Identity()
    layer.forward = lambda x, edges: globals()["Str" + "aight"].apply(x)
    assert "calls an autograd.Function" in lower(Model(layer)).reason
