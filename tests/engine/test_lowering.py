"""Programs read off models give what the models give."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from schnetgeo.engine.lowering import Lowered, lower
from schnetgeo.engine.program import Add, FilterConv, Linear
from tests.engine import reference
from tests.engine.models import F, Model, PaiNN, batch, cfconv, interaction


def check(model: nn.Module) -> Lowered:
    """The program of a model, after its values were compared."""
    lowered = lower(model)
    assert isinstance(lowered, Lowered), lowered.reason
    z, edges = batch(model)
    torch.testing.assert_close(
        reference.atomic_values(lowered, z, edges),
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


def test_painn():
    check(PaiNN())


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
    "dot": lambda self, x: (x * x).sum(-1, keepdim=True) * x + x.sum(dim=-1).unsqueeze(-1),
    "squeezed": lambda self, x: x * x.mean(1)[:, None],
    "chunks": lambda self, x: torch.cat(self.lin(x).chunk(2, dim=-1)[::-1], dim=-1),
    "splits": lambda self, x: torch.cat(x.split([2, 5, 1], -1), 1),
    "slices": lambda self, x: (
        torch.cat([x[:, 3:], x[..., :3]], dim=-1) * x[:, 2:3] * x[:, -1, None]
    ),
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
