"""Further layers of the field, a file each: formula, source, and a class to pass to SchNet."""

from schnetgeo.nn.zoo.attention import AttentionConv
from schnetgeo.nn.zoo.edge_update import EdgeUpdateSchNet
from schnetgeo.nn.zoo.gated import GatedConv
from schnetgeo.nn.zoo.norm import NormInteraction
from schnetgeo.nn.zoo.physnet import PhysNetConv, PhysNetInteraction
from schnetgeo.nn.zoo.pyg import PyGConv

__all__ = [
    "AttentionConv",
    "EdgeUpdateSchNet",
    "GatedConv",
    "NormInteraction",
    "PhysNetConv",
    "PhysNetInteraction",
    "PyGConv",
]
