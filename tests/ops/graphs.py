"""Random graphs, places on a table, and features for the spline operators."""

from typing import NamedTuple

import torch
from torch import Tensor

from schnetgeo.ops import Edges, bspline, edges_from_index


class Case(NamedTuple):
    x: Tensor
    y: Tensor
    table: Tensor
    interval: Tensor
    weights: Tensor
    edges: Edges


def random_case(seed=0, atoms=7, pairs=15, channels=5, knots=12, dtype=torch.float64) -> Case:
    """A symmetric graph with repeated pairs, loops, an atom without edges, and masked edges."""
    random = torch.Generator().manual_seed(seed)
    ends = torch.randint(max(atoms - 1, 1), (2, pairs), generator=random)
    edge_index, pair = torch.cat([ends, ends.flip(0)], 1), torch.arange(pairs).repeat(2)
    reverse = torch.arange(2 * pairs).roll(pairs)
    order = edge_index[1].argsort(stable=True)
    edge_index, reverse = edge_index[:, order], order.argsort()[reverse[order]]
    interval = torch.randint(knots - 3, (pairs,), generator=random)
    t, a = torch.rand(2, pairs, generator=random, dtype=torch.float64)
    a = torch.where(a < 0.2, 0.0, a)
    weights = a.unsqueeze(1) * bspline.weights(t)
    pair = pair[order]

    def normal(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64).to(dtype)

    return Case(
        normal(atoms, channels),
        normal(atoms, channels),
        normal(knots, channels),
        interval[pair],
        weights[pair].to(dtype),
        edges_from_index(edge_index, reverse, atoms),
    )
