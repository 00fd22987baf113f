"""Notices whether a model may compute something else than when its program was written."""

from itertools import chain
from operator import attrgetter, is_

from torch import nn
from torch.nn.modules.module import _has_any_global_hook

from schnetgeo.engine.lowering.contents import Contents
from schnetgeo.engine.lowering.modules import call_hooks, radial_parameters

_FORMAT = attrgetter("dtype"), attrgetter("device"), attrgetter("shape")
_TRAINS = attrgetter("requires_grad")


class Watch:
    """What a model's forward may read, as it was when this was made.

    That is: the attributes of its modules, objects and containers in them, the functions of their
    classes, and globals and closures of functions that a user wrote. Numbers of parameters and
    buffers may change: a program names the tensors.

    Args:
        model: as a program was written for it.

    Attributes:
        unwatchable: what in the model cannot be watched, or `None`.
    """

    def __init__(self, model: nn.Module):
        contents = Contents(model)
        self.unwatchable = contents.unwatchable
        self._live, self._copies = contents.live, contents.copies
        # views show what is in a dictionary later, and need no call to be read
        self._views = [x.values() if hasattr(x, "values") else x for x in self._live]
        self._values = list(chain.from_iterable(self._views))
        self._bindings, self._bound = contents.bindings, [read() for read in contents.bindings]
        self._modules, self._classes = contents.modules, list(map(type, contents.modules))
        self._hooks = [hooks for module in self._modules for hooks in call_hooks(module)]
        self._has_hooks = self._hooked()
        tensors = [t for m in self._modules for t in (m._parameters, m._buffers)]
        self._tensor_dicts = [(names, dict(names)) for names in tensors]
        self._tensor_views = [names.values() for names in tensors]
        self._slots = list(chain.from_iterable(self._tensor_views))
        self._tensors = [t for t in self._slots if t is not None]
        self._formats = self._current_formats()
        self._radial = list(radial_parameters(model).values())
        self._trained = list(map(_TRAINS, self._radial))

    def changed(self) -> bool:
        """Whether anything did since: takes some tens of microseconds."""
        if self._hooked() != self._has_hooks or list(map(type, self._modules)) != self._classes:
            return True
        slots = list(chain.from_iterable(self._tensor_views))
        if len(slots) != len(self._slots) or not all(map(is_, slots, self._slots)):
            return True
        if self._current_formats() != self._formats:
            return True
        if list(map(_TRAINS, self._radial)) != self._trained:
            return True
        try:
            same = list(chain.from_iterable(self._views)) == self._values
            return not same or [read() for read in self._bindings] != self._bound
        except Exception:  # what replaced a value may not compare, and a name may be gone
            return True

    def restore(self) -> None:
        """Undo what a forward wrote to modules, objects, and containers."""
        for live, before in (*zip(self._live, self._copies, strict=True), *self._tensor_dicts):
            if isinstance(live, dict):
                live.clear()
                live.update(before)
            elif isinstance(live, list):
                live[:] = before
            elif isinstance(live, set):
                live.clear()
                live.update(before)

    def _hooked(self) -> bool:
        return any(self._hooks) or bool(_has_any_global_hook())  # which gives a dictionary

    def _current_formats(self) -> list[list]:
        return [list(map(read, self._tensors)) for read in _FORMAT]
