"""One view of modules, live ones and those of a file whose package is not installed."""

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from schnetgeo.errors import InputError
from schnetgeo.interop.unpickler import StandIn

_DEEPEST, _MOST = 30, 10_000


class Node:
    """A module: name of its class, attributes, children and tensors.

    Args:
        module: a `torch.nn.Module`, or the stand-in of one.
        path: where in the whole model it stands.
    """

    def __init__(self, module: object, path: str = ""):
        self._module, self.path = module, path

    @property
    def name(self) -> str:
        """Name of the class."""
        return self.class_path.rpartition(".")[2]

    @property
    def class_path(self) -> str:
        """Dotted path of the class."""
        return class_of(self._module)

    def attribute(self, name: str, default: object = None) -> object:
        """A value of the module, as Python holds it."""
        return vars(self._module).get(name, default)

    @property
    def children(self) -> dict[str, "Node"]:
        """The modules in it, by name."""
        modules = self.attribute("_modules", {})
        if not isinstance(modules, dict):
            raise InputError(f"{self.path or 'the model'}: {self.name} has no modules as PyTorch's")
        named = ((str(k), m) for k, m in modules.items() if is_module(m))
        return {k: Node(m, f"{self.path}.{k}".lstrip(".")) for k, m in named}

    def __getitem__(self, path: str) -> "Node":
        """The module at a dotted path.

        Raises:
            InputError: where there is none; names what there is.
        """
        node = self
        for part in path.split("."):
            children = node.children
            if part not in children:
                raise InputError(
                    f"{node.path or 'the model'}, a {node.name}, has no module {part!r}, but "
                    f"{', '.join(children) or 'none'}; its version is not known"
                )
            node = children[part]
        return node

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Names and values of all parameters and buffers, as in a state dict.

        Raises:
            InputError: for more modules than a model has, as where one contains itself.
        """
        for number, node in enumerate(self._modules_within()):
            if number > _MOST:
                raise InputError(f"has more than {_MOST:,} modules; it is none of these models")
            for kind in ("_parameters", "_buffers"):
                for name, value in (node.attribute(kind) or {}).items():
                    if isinstance(value, Tensor):
                        yield f"{node.path}.{name}".lstrip("."), value

    def _modules_within(self, depth: int = 0) -> Iterator["Node"]:
        """Itself and all below, parents first."""
        if depth > _DEEPEST:
            raise InputError(f"{self.path}: modules are nested more than {_DEEPEST} deep")
        yield self
        for child in self.children.values():
            yield from child._modules_within(depth + 1)


def is_module(value: object) -> bool:
    """Whether a value is a module, or the stand-in of one."""
    return isinstance(value, nn.Module) or (
        isinstance(value, StandIn) and "_modules" in vars(value)
    )


def class_of(value: object) -> str:
    """Dotted path of the class of a value; of a class or function itself."""
    cls = value if isinstance(value, type) else type(value)
    if issubclass(cls, StandIn):
        return f"{cls.module}.{cls.name}"
    if callable(value) and not isinstance(value, nn.Module | type):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__name__', '')}"
    return f"{cls.__module__}.{cls.__qualname__}"


def is_state_dict(value: object) -> bool:
    """Whether a value is tensors by name."""
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(k, str) and isinstance(t, Tensor) for k, t in value.items())
    )
