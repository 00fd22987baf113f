"""Reads what a model's forward computes, by running it on symbols in place of tensors.

A `Symbol` is a small tensor that stands for a `Value`. While `Tracing` is entered, each function of
torch that this thread calls comes to it: torch finds the shape of the result, and the function's
rule writes the program. Nobody reads the numbers of a symbol. Nothing of the model or of torch is
replaced meanwhile.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from schnetgeo.engine.lowering.num_rows import NumRows
from schnetgeo.engine.lowering.torch_functions import (
    COUNTS,
    FACTORIES,
    IN_PLACE,
    QUERIES,
    RANDOM,
    READS,
    RULES,
    VIEWS,
)
from schnetgeo.engine.lowering.values import (
    Constant,
    Draft,
    Features,
    Index,
    Message,
    NotLowered,
    Place,
    Value,
    Weight,
    describe,
)

_CPU = torch.device("cpu")
_INDEX_AXES = {
    Index.ATOMIC_NUMBER: "r", Index.EDGE_INDEX: "1r", Index.SOURCE: "r", Index.TARGET: "r",
}  # fmt: skip
_OTHER_NAMES = {"axis": "dim", "keepdims": "keepdim"}


class Symbol(Tensor):
    """A tensor for its shape, which stands for `value`."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    value: Value
    is_shared: bool  # whether it is a view of another symbol, or another of it


class Tracing(TorchFunctionMode):
    """Writes to a draft what is called while it is entered.

    Args:
        draft: the programs to write to.
        model: whose parameters and buffers may be used.
        rows: numbers of atoms and of edges.
        dtype: of all features.
        device: that tensors seem to be on.
    """

    def __init__(
        self,
        draft: Draft,
        model: nn.Module,
        rows: tuple[int, int],
        dtype: torch.dtype,
        device: torch.device,
    ):
        super().__init__()
        self.draft, self.dtype = draft, dtype
        self._rows, (self.num_atoms, self._num_edges) = rows, rows
        self._device = device
        self._weights = {id(t) for t in (*model.parameters(), *model.buffers())}
        self._shapes: dict[int, Tensor] = {}
        self.error: Exception | None = None  # the first, which a forward may have caught
        self._result: Tensor | tuple[Tensor, ...] = ()

    def symbol(self, value: Value, shape: Iterable[int], dtype: torch.dtype) -> Symbol:
        """A tensor of a shape, for a value."""
        return self._symbol(value, torch.zeros(tuple(shape), dtype=dtype, device=_CPU))

    def __torch_function__(self, function, types, args=(), kwargs=None):
        try:
            return self._handle(function, args, kwargs or {})
        except Exception as error:
            self.error = self.error or error
            raise

    def _handle(self, function: Callable, args: tuple, kwargs: dict) -> object:
        if function in QUERIES:
            return self._query(function, args, kwargs)
        if function is Tensor.device.__get__:
            return self._device
        _check_allowed(function, args)
        if not self._is_symbolic(function, args, kwargs):
            return function(*args, **kwargs)
        if function in IN_PLACE:
            return self._in_place(IN_PLACE[function], args, kwargs)
        return self._call(function, args, kwargs)

    def _query(self, function: Callable, args: tuple, kwargs: dict) -> object:
        """What a tensor tells of itself, with `NumRows` for numbers of atoms and edges."""
        answer, axes = function(*args, **kwargs), self._axes(args[0])
        if function is Tensor.__len__ and axes[:1] == "r":  # Python makes a plain number of it
            raise NotLowered("takes len() of atoms or edges; write x.size(0)")
        if "r" not in axes:
            return answer
        rows = args[0].shape[axes.index("r")]
        if isinstance(answer, torch.Size):
            sizes = zip(answer, axes, strict=True)
            return torch.Size([NumRows(n, rows) if axis == "r" else n for n, axis in sizes])
        if function is Tensor.size:
            dim = args[1] if len(args) > 1 else kwargs["dim"]
            return NumRows(answer, rows) if axes[dim] == "r" else answer
        return NumRows(answer, rows) if function in COUNTS else answer

    def _axes(self, x: object) -> str:
        """The meaning of the dimensions of a symbol; nothing where it is not known."""
        value = getattr(x, "value", None)
        if isinstance(value, Features | Message) and len(value.axes) == x.dim():
            return value.axes
        if isinstance(value, Constant) and x.dim() and x.size(0) in self._rows:
            return "r" + "1" * (x.dim() - 1)
        return _INDEX_AXES.get(value, "") if isinstance(value, Index) else ""

    # what rules ask for, besides `draft` and `num_atoms`

    @property
    def new_shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        return tuple(self._result.shape)

    @property
    def piece_shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the results, if there are several."""
        return [tuple(piece.shape) for piece in self._result]

    def shape(self, value: Value) -> tuple[int, ...]:
        """The shape of a value."""
        match value:
            case Features(place, register, axes):
                channels = self.draft.builder(place).channels(register)
                rows = self.num_atoms if place is Place.ATOM else self._num_edges
            case Message(_, axes):
                channels, rows = self.draft.message_channels(value), self._num_edges
            case Constant() | Weight():
                return value.shape
            case _:
                raise NotLowered(f"changes the shape of {describe(value)}")
        sizes = {"r": rows, "c": 3, "f": channels, "1": 1}
        return tuple(sizes[axis] for axis in axes)

    def _is_symbolic(self, function: Callable, args: tuple, kwargs: dict) -> bool:
        if any(isinstance(t, Symbol) or id(t) in self._weights for t in _tensors(args, kwargs)):
            return True
        number = function is not torch.tensor or isinstance(args[0], int | float)
        return function in FACTORIES and number

    def _call(self, function: Callable, args: tuple, kwargs: dict) -> object:
        if function not in RULES:
            names = [
                describe(value) for value in map(self._value, args) if isinstance(value, Value)
            ]
            of = f" of {' and '.join(names)}" if names else ""
            raise NotLowered(f"takes {resolve_name(function) or function}{of}, which has no rule")
        kwargs = {_OTHER_NAMES.get(name, name): value for name, value in kwargs.items()}
        values, named = self._value(args), self._value(kwargs)
        with torch.no_grad():
            self._result = self._shaped(function, args, kwargs)
        value = RULES[function](self, *values, **named)
        several = isinstance(value, tuple) and not hasattr(value, "_fields")
        pairs = zip(value, self._result, strict=True) if several else ((value, self._result),)
        symbols = tuple(self._checked(*pair) for pair in pairs)
        if function in VIEWS and isinstance(args[0], Symbol):
            for symbol in (args[0], *symbols):
                symbol.is_shared = True
        return symbols if several else symbols[0]

    def _in_place(self, function: Callable, args: tuple, kwargs: dict) -> Symbol:
        x = args[0]
        if not isinstance(x, Symbol) or x.is_shared:
            raise NotLowered("changes a tensor in place that is not the only view of its numbers")
        symbol = self._call(function, args, kwargs)
        if symbol.shape != x.shape:
            raise NotLowered("changes the shape of a tensor in place")
        x.value = symbol.value
        return x

    def _shaped(self, function: Callable, args: tuple, kwargs: dict) -> Tensor:
        if "device" in kwargs or function in FACTORIES:
            kwargs = {**kwargs, "device": _CPU}
        return function(*self._shape_only(args), **self._shape_only(kwargs))

    def _shape_only(self, x: object) -> object:
        if isinstance(x, Symbol) or not isinstance(x, Tensor | tuple | list | dict | torch.device):
            return x
        if isinstance(x, torch.device):
            return _CPU
        if isinstance(x, dict):
            return {key: self._shape_only(item) for key, item in x.items()}
        if isinstance(x, tuple | list):
            return type(x)(map(self._shape_only, x)) if type(x) in (tuple, list) else x
        if id(x) not in self._shapes:
            on_cpu = x.device == _CPU
            self._shapes[id(x)] = x.detach() if on_cpu else torch.zeros_like(x, device=_CPU)
        return self._shapes[id(x)]

    def _value(self, x: object) -> object:
        if isinstance(x, Symbol):
            if not x.is_leaf:
                raise NotLowered("calls an autograd.Function, whose gradient may be another")
            return x.value
        if isinstance(x, dict):
            return {key: self._value(item) for key, item in x.items()}
        if type(x) in (tuple, list):
            return type(x)(map(self._value, x))
        if not isinstance(x, Tensor):
            return x
        if id(x) not in self._weights:
            raise NotLowered("calculates with a tensor that is no parameter or buffer of the model")
        if x.dtype != self.dtype:
            raise NotLowered(f"calculates with a buffer in {x.dtype}, not {self.dtype}")
        return Weight(self.draft.parameters.number(x), tuple(x.shape))

    def _checked(self, value: Value, like: Tensor) -> Symbol:
        """The symbol of a result whose shape and dtype are what torch says."""
        if isinstance(value, Constant | Weight):
            value = value._replace(shape=tuple(like.shape))
        if value is Index.EDGE_INDEX and tuple(like.shape) != (2, self._num_edges):
            raise NotLowered("changes the shape of edge_index")
        if not isinstance(value, Index | Constant):
            if self.shape(value) != tuple(like.shape):
                raise NotLowered(f"has a result of shape {tuple(like.shape)} that it cannot hold")
            if like.dtype != self.dtype:
                raise NotLowered(f"calculates in {like.dtype}, where features are {self.dtype}")
        return self._symbol(value, like)

    def _symbol(self, value: Value, like: Tensor) -> Symbol:
        # it requires a gradient so that an autograd.Function leaves its mark
        symbol = Tensor._make_subclass(Symbol, like, like.is_floating_point())
        symbol.value, symbol.is_shared = value, False
        return symbol


def _check_allowed(function: Callable, args: tuple) -> None:
    name = getattr(function, "__name__", "")
    if function in READS:
        raise NotLowered(f"reads the numbers of a tensor in Python ({name})")
    if name in RANDOM:
        raise NotLowered(f"draws random numbers ({name})")
    if function is torch._C._set_grad_enabled and not args[0]:
        raise NotLowered("switches gradients off")


def _tensors(*containers: object) -> Iterator[Tensor]:
    for x in containers:
        if isinstance(x, Tensor):
            yield x
        elif isinstance(x, tuple | list):
            yield from _tensors(*x)
        elif isinstance(x, dict):
            yield from _tensors(*x.values())
