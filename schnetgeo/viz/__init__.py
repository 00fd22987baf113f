"""Pictures and films of structures, drawn without a display."""

from schnetgeo.viz.show import animate, show

__all__ = ["animate", "show"]
