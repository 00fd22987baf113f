"""Models read as programs, and what runs them."""

from schnetgeo.engine.explanation import Explanation, explain

__all__ = ["Explanation", "explain"]
