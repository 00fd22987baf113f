"""What a module was built with, so that a model file can build it again."""

import inspect

from torch import nn


class Configurable(nn.Module):
    """A module that records the arguments of its `__init__`, without a line in a subclass.

    Derive basis functions, cutoff functions and models of your own from it, so that a model file
    can hold them.

    Attributes:
        hyperparameters: every argument of `__init__` by its name, defaults included.
    """

    hyperparameters: dict

    def __new__(cls, *args, **kwargs):
        module = super().__new__(cls)
        module.hyperparameters = {}
        signature = inspect.signature(cls.__init__)
        try:
            # partly, for a copy is created without arguments
            bound = signature.bind_partial(module, *args, **kwargs)
        except TypeError:  # __init__ says what is wrong
            return module
        bound.apply_defaults()
        _, *recorded = bound.arguments.items()
        for name, value in recorded:
            is_rest = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
            module.hyperparameters.update(value if is_rest else {name: value})
        return module
