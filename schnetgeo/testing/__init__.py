"""Checks for layers and models of your own: what must not change their output, and derivatives.

    print(schnetgeo.testing.check_conv(MyConv))
    print(schnetgeo.testing.check_potential(MyModel()))

The first statement that does not hold raises `CheckFailed`, which says by how much, and what
usually is the cause. A layer or model that is right, but runs without SchNet's fast path, passes
with a note. Everything is computed on the CPU, on copies, and in float64.
"""

from schnetgeo.testing.checks import CheckFailed, Report, Result
from schnetgeo.testing.conv import check_conv
from schnetgeo.testing.potential import check_potential

__all__ = ["CheckFailed", "Report", "Result", "check_conv", "check_potential"]
