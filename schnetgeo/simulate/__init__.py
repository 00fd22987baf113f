"""What a trained potential is for: the ASE calculator, and what runs with it."""

from schnetgeo.simulate.calculator import Calculator

__all__ = ["Calculator"]
