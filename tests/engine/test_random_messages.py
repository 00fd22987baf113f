"""Random messages and functions of features are lowered to what autograd computes, or refused."""

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from schnetgeo.engine.lowering.lower import Lowered, lower
from schnetgeo.nn.conv import RadialConv
from tests.engine import reference
from tests.engine.models import F, K, Model, batch

# each writes to a list of values what it makes of two of them
BINARY = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "mean of both": lambda a, b: (a + b) / 2,
}
UNARY = {
    "tanh": torch.tanh,
    "scaled": lambda a: 0.5 * a - 0.25,
    "rotated": lambda a: torch.cat([a[:, 1:], a[:, :1]], dim=-1) if a.shape[1] > 1 else a,
    "first channel": lambda a: a[:, :1],
    "mean": lambda a: a.mean(-1, keepdim=True),
    "norm": lambda a: a * torch.rsqrt(a.square().mean(-1, keepdim=True) + 0.1),
}
STEPS = st.lists(
    st.tuples(st.sampled_from([*BINARY, *UNARY]), st.integers(0, 20), st.integers(0, 20)),
    max_size=8,
)


class Random(RadialConv):
    def __init__(self, steps):
        super().__init__(F, K)
        self.steps = steps
        self.filter = nn.Linear(K, F)
        self.lin = nn.Linear(F, F)

    def message(self, x_i, x_j, W, edge_attr):
        values = [x_j * W, x_i, x_j, W, self.lin(x_i), edge_attr[:, :1]]
        for name, a, b in self.steps:
            a, b = values[a % len(values)], values[b % len(values)]
            values.append(BINARY[name](a, b) if name in BINARY else UNARY[name](a))
        return values[-1] + torch.zeros_like(x_j)


class Block(nn.Module):
    def __init__(self, steps):
        super().__init__()
        self.conv = Random(steps)

    def forward(self, x, edges):
        return torch.tanh(self.conv(torch.tanh(x), edges))


@given(STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_random_messages(steps):
    torch.manual_seed(0)
    model = Model(Block(steps))
    lowered = lower(model)
    if isinstance(lowered, Lowered):
        z, edges = batch(model)
        values = reference.lowered_values(lowered, z, edges)
        torch.testing.assert_close(values, model.atomic_values(z, edges), rtol=1e-11, atol=1e-11)
    else:
        # what is refused takes a function of a product, or a reduction of it
        assert any(name in UNARY for name, _, _ in steps), lowered.reason
        assert "sum of products" in lowered.reason
