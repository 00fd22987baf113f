"""Spline-filter operators: convolutions whose filters are never formed edge by edge."""

from schnetgeo.ops.backend import kernels
from schnetgeo.ops.edges import Edges
from schnetgeo.ops.operators import conv, dot, table

__all__ = ["Edges", "conv", "dot", "kernels", "table"]
