"""Programs read off models give what the models give."""

import math
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import schnetgeo as sg
from schnetgeo.engine.lowering.lower import Lowered, Refusal, lower
from schnetgeo.engine.program import Add, FilterConv, Linear
from tests.engine import reference
from tests.engine.models import F, K, Model, batch, cfconv, interaction, of_conv

OUTSIDE = torch.ones(F, dtype=torch.float64)


def check(model: nn.Module) -> Lowered:
    """The program of a model, after its values were compared."""
    lowered = lower(model)
    assert isinstance(lowered, Lowered), lowered.reason
    z, edges = batch(model)
    torch.testing.assert_close(
        reference.lowered_values(lowered, z, edges),
        model.atomic_values(z, edges),
        rtol=1e-12,
        atol=1e-12,
    )
    return lowered


def count(lowered: Lowered, kind: type) -> int:
    return sum(isinstance(op, kind) for op in lowered.program.atoms.operations)


def test_schnet_is_its_few_operations():
    lowered = check(Model(*(interaction(cfconv()) for _ in range(3))))
    assert len(lowered.program.atoms.operations) == 1 + 3 * 5 + 3
    assert not count(lowered, Add)
    linear = [op for op in lowered.program.atoms.operations if isinstance(op, Linear)]
    assert sum(op.residual is not None for op in linear) == 3


@pytest.mark.parametrize("layers", [1, 2])
def test_painn(layers):
    model = sg.PaiNN(F, layers, K, zero_init=True).double()
    torch.nn.init.normal_(model.readout.lin2.weight)
    lowered = check(model)
    gradients = [op for op in lowered.program.atoms.operations if isinstance(op, FilterConv)]
    # no vectors before the first layer
    assert [op.direction.name for op in gradients].count("NONE") == 2 * layers - 1


@pytest.mark.parametrize("preset", sg.SchNet.presets)
def test_presets(preset):
    check(sg.SchNet.preset(preset, channels=F, num_layers=2, cutoff=4.0).double())


class Block(nn.Module):
    """A function of features as a block of a model."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        self.weight, self.bias = nn.Parameter(torch.rand(F)), nn.Parameter(torch.rand(F))
        self.number = nn.Parameter(torch.rand(1))
        self.register_buffer("table", torch.rand(F))
        self.lin = nn.Linear(F, F)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x, edges):
        return self.function(self, x)


FUNCTIONS = {
    "numbers": lambda self, x: (2 * x + 1) / 3 - (1 - x) * 0.5 + (-x),
    "quotients": lambda self, x: 1 / (x * x + 1) + x / (x**2 + 2),
    "powers": lambda self, x: x**3 + x**4 + (x**2 + 1) ** 0.5 + (x**2 + 1) ** -1.0 + x**1,
    "roots": lambda self, x: torch.sqrt(x.square() + 1) * (x * x + 1).rsqrt(),
    "exponential": lambda self, x: torch.exp(-x) + x.exp(),
    "sigmoid": lambda self, x: x.sigmoid() * torch.tanh(x) + functional.silu(x) * x.tanh(),
    "swish": lambda self, x: x * torch.sigmoid(x),
    "gelu": lambda self, x: functional.gelu(x) + functional.softplus(x) + functional.mish(x),
    "shifted softplus": lambda self, x: functional.softplus(x) - math.log(2),
    "log sigmoid": lambda self, x: functional.logsigmoid(x) + functional.tanhshrink(x),
    "rms norm": lambda self, x: (
        x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight
    ),
    "rms norm of torch": lambda self, x: functional.rms_norm(x, (F,), self.weight, 1e-6),
    "rms norm, no eps": lambda self, x: functional.rms_norm(x, (F,)),
    "layer norm": lambda self, x: functional.layer_norm(x, (F,), self.weight, self.bias),
    "one plus weight": lambda self, x: x * (1 + self.weight) + self.bias.exp(),
    "weight first": lambda self, x: self.weight * x - self.bias,
    "buffer": lambda self, x: self.table * x + self.table,
    "number": lambda self, x: self.number * x + self.number.tanh(),
    "axis": lambda self, x: x.sum(axis=-1, keepdims=True) * x,
    "dot": lambda self, x: (x * x).sum(-1, keepdim=True) * x + x.sum(dim=-1).unsqueeze(-1),
    "squeezed": lambda self, x: x * x.mean(1)[:, None],
    "chunks": lambda self, x: torch.cat(self.lin(x).chunk(2, dim=-1)[::-1], dim=-1),
    "splits": lambda self, x: torch.cat(x.split([2, 5, 1], -1), 1),
    "slices": lambda self, x: (
        torch.cat([x[:, 3:], x[..., :3]], dim=-1) * x[:, 2:3] * x[:, -1, None]
    ),
    "unbound": lambda self, x: x * x.unbind(-1)[2].unsqueeze(1) + sum(x.unbind(1))[:, None],
    "narrow": lambda self, x: x.narrow(-1, 0, 1) * x,
    "unpacking": lambda self, x: sum(part for part in self.lin(x).chunk(1, -1)),
    "views": lambda self, x: x.view(-1, 1, F).reshape(x.shape).transpose(0, 1).permute(1, 0),
    "constants": lambda self, x: (
        torch.zeros_like(x) + x * torch.ones(1, dtype=x.dtype) + x.new_zeros(F)
    ),
    "tensor": lambda self, x: x * torch.tensor(0.5, dtype=x.dtype),
    "in place": lambda self, x: self.lin(x).mul_(2).add_(x),
    "shared layer": lambda self, x: self.lin(self.lin(self.lin(x))),
    "addition with alpha": lambda self, x: torch.add(x, x * x, alpha=0.5),
    "checked sizes": lambda self, x: (
        x if x.size(0) == self.lin(x).shape[0] and x.shape == x.clone().shape else None
    ),
    "sizes": lambda self, x: x / x.shape[-1] if x.dim() == 2 and len(x.shape) == 2 else None,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_features(name):
    check(Model(Block(FUNCTIONS[name]), interaction(cfconv())))


@pytest.mark.parametrize(
    "module",
    [
        nn.SiLU(), nn.Sigmoid(), nn.Tanh(), nn.Softplus(), nn.GELU(), nn.Mish(), nn.LogSigmoid(),
        nn.Tanhshrink(), nn.Identity(), nn.LayerNorm(F), nn.RMSNorm(F), nn.Dropout(0.0),
        nn.Dropout(0.3).eval(), nn.LayerNorm(F, elementwise_affine=False), nn.Linear(F, F),
    ],
    ids=lambda module: type(module).__name__,
)  # fmt: skip
def test_modules_of_torch(module):
    model = Model(Block(lambda self, x: self.part(x), part=module), interaction(cfconv()))
    model.blocks[0].part.train(module.training)
    check(model)


class TwoConvolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.conv = nn.RMSNorm(F), cfconv()
        self.gate = nn.Sequential(nn.Linear(F, F), nn.Sigmoid())
        self.out = nn.Linear(F, F)

    def forward(self, x, edges):
        y = self.norm(x)
        y = self.conv(y, edges) + self.conv(self.conv(y, edges), edges)
        y += x
        return self.out(self.gate(x) * y)


def test_two_convolutions_with_one_filter():
    lowered = check(Model(TwoConvolutions(), TwoConvolutions()))
    assert count(lowered, FilterConv) == 4
    assert len(lowered.program.filters.outputs) == 2


def test_a_layer_that_is_shared():
    block = interaction(cfconv())
    lowered = check(Model(block, block))
    assert len(lowered.program.filters.outputs) == 1
    assert len(lowered.parameters) == len(list(block.parameters())) + 5


class Cached(nn.Module):
    """Changes itself while it runs."""

    def __init__(self, change):
        super().__init__()
        self.change, self.state, self.list = change, None, [1.0]
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x, edges):
        self.change(self, x)
        return x


def leave_tensor(self, x):
    self.state = x


def leave_buffer(self, x):
    self.calls = self.calls + 1


def leave_in_list(self, x):
    self.list.append(x)


def add_module(self, x):
    self.part = nn.Identity()


@pytest.mark.parametrize("change", [leave_tensor, leave_buffer, leave_in_list, add_module])
def test_a_model_that_changes_itself_is_refused_and_left_as_it_was(change):
    model = Model(Cached(change))
    before, lists = dict(vars(model.blocks[0])), list(model.blocks[0].list)
    modules, buffers = list(model.modules()), list(model.buffers())
    refusal = lower(model)
    assert "changes its attributes" in refusal.reason
    assert vars(model.blocks[0]) == before
    assert model.blocks[0].list == lists
    assert [a is b for a, b in zip(model.modules(), modules, strict=True)]
    assert all(a is b for a, b in zip(model.buffers(), buffers, strict=True))


def branch(self, x):
    return x if x * x else -x


def caught(self, x):
    try:
        return x * float(x)
    except Exception:
        return x


def no_gradient(self, x):
    with torch.no_grad():
        return x * 2


def twice(self, x):
    self.lin.weight.data.mul_(2)
    return x


def script(self, x):
    return torch.jit.script(lambda_free)(x)


def lambda_free(x: torch.Tensor) -> torch.Tensor:
    return x * 2


def shared_in_place(self, x):
    y = x[:, :4]
    x += 1
    return x + torch.cat([y, y], dim=-1)


REFUSED = {
    "branch": (branch, "reads the numbers of a tensor in Python (__bool__)"),
    "caught": (caught, "reads the numbers of a tensor in Python (__float__)"),
    "loop over atoms": (lambda self, x: torch.stack(list(x)), "takes a part of atoms"),
    "number of atoms": (lambda self, x: x / x.shape[0], "number of atoms"),
    "numbers of all": (
        lambda self, x: x if x.shape.numel() < 99 * F else -x,
        "differently in each call",
    ),
    "large batches": (lambda self, x: x if x.shape[0] > 20 else 2 * x, "branches on the number"),
    "one atom": (lambda self, x: x if x.size(0) == 1 else 2 * x, "branches on the number of atoms"),
    "no atoms": (lambda self, x: x if x.numel() else 2 * x, "branches on the number of atoms"),
    "length": (lambda self, x: x if len(x) < 2000 else -x, "len() of atoms"),
    "half the atoms": (lambda self, x: x if x.size(0) / 2 < 900 else -x, "branches on the number"),
    "root": (lambda self, x: x if math.sqrt(x.size(0)) < 30 else -x, "branches on the number"),
    "plain number": (lambda self, x: x if int(x.size(0)) < 900 else -x, "branches on the number"),
    "a set": (lambda self, x: x if x.size(0) in {900, 901} else -x, "branches on the number"),
    "half of them": (lambda self, x: x if 2 * x.size(dim=0) < 60 else -x, "branches on the number"),
    "random": (lambda self, x: x * torch.rand(1), "random numbers (rand)"),
    "noise": (lambda self, x: x + torch.randn_like(x), "random numbers (randn_like)"),
    "dropout": (lambda self, x: functional.dropout(x, 0.5), "random numbers (dropout"),
    "Python's random": (lambda self, x: x * random.random(), "differently in each call"),
    "numpy": (lambda self, x: np.exp(x), "reads the numbers of a tensor"),
    "no rule": (lambda self, x: x.cumsum(0), "takes torch.Tensor.cumsum of an atom's features"),
    "detached": (lambda self, x: x.detach(), "takes torch.Tensor.detach"),
    "no gradient": (no_gradient, "switches gradients off"),
    "sum over atoms": (lambda self, x: x - x.mean(0), "sums over atoms"),
    "over all": (lambda self, x: x / x.sum(), "sums over atoms"),
    "softmax": (lambda self, x: x.softmax(-1), "softmax"),
    "tensor": (lambda self, x: x * OUTSIDE, "a tensor that is no parameter or buffer"),
    "attribute": (lambda self, x: x * self.plain, "a tensor that is no parameter or buffer"),
    "half": (lambda self, x: self.lin(x.float().double()), "float32"),
    "integers": (lambda self, x: x * self.integers, "a buffer in torch.int64"),
    "wrong shape": (lambda self, x: functional.linear(x[:, 1:], self.lin.weight), "cannot run on"),
    "channels as rows": (lambda self, x: x.reshape(-1), "changes the shape"),
    "heads": (lambda self, x: x.view(-1, 2, F // 2).sum(1), "changes the shape"),
    "outer product": (lambda self, x: (x[:, :, None] * x[:, None]).sum(1), "different meaning"),
    "bare squeeze": (lambda self, x: x.squeeze(), "name the dimension"),
    "weight data": (twice, "no rule"),
    "script": (script, "runs the model"),
    "in place": (shared_in_place, "in place"),
    "computed weight": (lambda self, x: x @ self.lin.weight, "matmul"),
    "two parameters": (lambda self, x: x * (self.weight * self.bias), "two parameters"),
    "infinite": (lambda self, x: x * math.inf, "calculates with inf"),
    "power": (lambda self, x: (x * x) ** 1.3, "power 1.3"),
    "activation": (lambda self, x: functional.relu(x), "relu"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_program_says_is_refused(name):
    function, text = REFUSED[name]
    block = Block(function)
    block.plain = torch.ones(F, dtype=torch.float64)
    block.register_buffer("integers", torch.ones(F, dtype=torch.long))
    model = Model(block)
    parameters = [p.clone() for p in model.parameters()]
    refusal = lower(model)
    assert isinstance(refusal, Refusal)
    assert text in refusal.reason
    assert "\n" not in refusal.reason
    assert refusal.reason.endswith("autograd runs the model")
    assert all(map(torch.equal, model.parameters(), parameters))


def test_the_reason_names_the_place():
    reason = lower(Model(Block(branch))).reason
    assert reason.startswith("Block.branch (blocks.0, test_lowering.py line ")


def test_training_dropout_is_refused_until_evaluation():
    model = Model(nn.ModuleList(), Block(lambda self, x: self.drop(x), drop=nn.Dropout(0.5)))
    del model.blocks[0]
    assert "dropout in training mode" in lower(model).reason
    check(model.eval())


def test_models_on_two_devices_or_types_are_refused():
    model = of_conv(cfconv())
    model.readout.float()
    assert "has parameters in torch.float32 on cpu and torch.float64 on cpu" in lower(model).reason
    model.double().readout.to("meta")
    assert "torch.float64 on cpu and torch.float64 on meta" in lower(model).reason


def test_a_basis_that_trains_is_refused():
    model = of_conv(cfconv())
    model.basis.width = nn.Parameter(torch.ones(1, dtype=torch.float64))
    assert "basis.width is a parameter that trains" in lower(model).reason
    model.basis.requires_grad_(False)
    check(model)


def test_other_models_are_refused():
    class Own(Model):
        def forward(self, data):
            return 2 * super().forward(data)

    assert "Linear is no AtomisticModel" in lower(nn.Linear(2, 2)).reason
    assert "Own.forward is not that of AtomisticModel" in lower(Own()).reason


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_contexts_make_no_difference(context):
    model = of_conv(cfconv())
    with context():
        lowered = lower(model)
    assert lowered.program == check(model).program


def test_other_threads_compute_meanwhile():
    model, layer, x = of_conv(cfconv()), nn.Linear(2, 2), torch.rand(3, 2)
    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(layer, x) for _ in range(200)]
        assert all(isinstance(lower(model), Lowered) for _ in range(3))
    assert all(torch.equal(other.result(), layer(x)) for other in others)


def test_numbers_of_atoms_and_of_edges_are_not_compared():
    """They are equal for two atoms."""

    class Comparing(nn.Module):
        def forward(self, x, edges):
            return x if x.size(0) == edges.edge_attr.size(0) else 2 * x

    assert "branches on the number of atoms or edges" in lower(Model(Comparing())).reason


def test_a_branch_on_the_number_of_edges_is_refused():
    class Branching(sg.RadialConv):
        def message(self, x_j):
            return x_j if x_j.size(0) > 10**6 else 2 * x_j

    reason = lower(of_conv(Branching(F, K))).reason
    assert "Branching.message" in reason
    assert "branches on the number of atoms or edges" in reason
