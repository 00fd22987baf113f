"""Spline-filter operators: convolutions whose filters are never formed edge by edge."""

from schnetgeo.ops.backend import get_backend
from schnetgeo.ops.csr import edges_from_index
from schnetgeo.ops.edges import Edges
from schnetgeo.ops.operators import spline_conv, spline_conv_grad_table, spline_conv_grad_weights

__all__ = [
    "Edges",
    "edges_from_index",
    "get_backend",
    "spline_conv",
    "spline_conv_grad_table",
    "spline_conv_grad_weights",
]
