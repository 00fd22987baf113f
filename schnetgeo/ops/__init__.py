"""Spline-filter operators: convolutions whose filters are never formed edge by edge."""

from schnetgeo.ops.backend import get_backend
from schnetgeo.ops.csr import edges_from_index
from schnetgeo.ops.edges import Edges

__all__ = ["Edges", "edges_from_index", "get_backend"]
