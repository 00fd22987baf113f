"""Which functions of torch a model's forward may call, and what kinds of others there are."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from schnetgeo.engine.lowering import layer_rules as layers
from schnetgeo.engine.lowering import shape_rules as shapes
from schnetgeo.engine.lowering.arithmetic import affine, apply, power
from schnetgeo.engine.lowering.values import Value
from schnetgeo.engine.program import Function


def _each_number(function: Function) -> Callable:
    def rule(call: layers.Call, x: Value) -> Value:
        return apply(call.draft, x, function)

    return rule


_NAMES = {
    "add": layers.add_scaled,
    "sub": layers.subtract,
    "subtract": layers.subtract,
    "rsub": lambda call, x, y, alpha=1: layers.subtract(call, y, x, alpha),
    "mul": layers.times,
    "multiply": layers.times,
    "div": layers.divide,
    "divide": layers.divide,
    "true_divide": layers.divide,
    "neg": lambda call, x: affine(call.draft, x, -1),
    "negative": lambda call, x: affine(call.draft, x, -1),
    "pow": lambda call, x, exponent: power(call.draft, x, exponent),
    "sigmoid": _each_number(Function.SIGMOID),
    "tanh": _each_number(Function.TANH),
    "exp": _each_number(Function.EXP),
    "sqrt": _each_number(Function.SQRT),
    "rsqrt": _each_number(Function.RSQRT),
    "reciprocal": _each_number(Function.RECIPROCAL),
    "square": _each_number(Function.SQUARE),
    "sum": layers.sum_over,
    "mean": layers.mean_over,
    "unsqueeze": shapes.unsqueeze,
    "squeeze": shapes.squeeze,
    "view": shapes.reshape,
    "reshape": shapes.reshape,
    "flatten": shapes.reshape,
    "view_as": shapes.reshape,
    "reshape_as": shapes.reshape,
    "expand": shapes.expand,
    "expand_as": shapes.expand,
    "broadcast_to": shapes.expand,
    "transpose": shapes.transpose,
    "swapaxes": shapes.transpose,
    "permute": shapes.permute,
    "chunk": shapes.pieces,
    "split": shapes.pieces,
    "narrow": shapes.narrow,
    "unbind": shapes.unbind,
    "cat": shapes.concatenate,
    "concat": shapes.concatenate,
    "concatenate": shapes.concatenate,
    "index_select": shapes.index_select,
    "index_add": shapes.sum_edges,
    "scatter_add": shapes.sum_edges,
    "zeros": shapes.new(0.0),
    "ones": shapes.new(1.0),
    "zeros_like": shapes.new(0.0),
    "ones_like": shapes.new(1.0),
    "new_zeros": shapes.new(0.0),
    "new_ones": shapes.new(1.0),
    "full": shapes.full,
    "full_like": shapes.full,
    "new_full": shapes.full,
    "tensor": shapes.number,
    "contiguous": shapes.same,
    "clone": shapes.same,
    "to": shapes.same,
    "float": shapes.same,
    "double": shapes.same,
    "long": shapes.same,
    "type_as": shapes.same,
}

RULES: dict[Callable, Callable] = {
    function: rule
    for name, rule in _NAMES.items()
    for owner in (torch, Tensor)
    if callable(function := getattr(owner, name, None))
}
RULES |= {
    Tensor.__rsub__: _NAMES["rsub"],
    Tensor.__rdiv__: lambda call, x, y: layers.divide(call, y, x),
    Tensor.__pow__: _NAMES["pow"],
    Tensor.__getitem__: shapes.getitem,
    F.linear: layers.linear,
    F.embedding: layers.embedding,
    F.softplus: layers.softplus,
    F.gelu: layers.gelu,
    F.silu: layers.silu,
    F.mish: layers.mish,
    F.logsigmoid: layers.log_sigmoid,
    F.tanhshrink: layers.tanh_shrink,
    F.sigmoid: _NAMES["sigmoid"],
    F.tanh: _NAMES["tanh"],
    F.dropout: layers.dropout,
    F.layer_norm: layers.layer_norm,
    F.rms_norm: layers.rms_norm,
    torch.rms_norm: layers.rms_norm,
}

_IN_PLACE_OPERATORS = {"__iadd__": "add", "__isub__": "sub", "__imul__": "mul", "__idiv__": "div"}
IN_PLACE: dict[Callable, Callable] = {
    getattr(Tensor, f"{name}_"): getattr(Tensor, name)
    for name in _NAMES
    if hasattr(Tensor, name) and hasattr(Tensor, f"{name}_")
} | {getattr(Tensor, name): getattr(Tensor, base) for name, base in _IN_PLACE_OPERATORS.items()}

# functions that make tensors from numbers
FACTORIES = {torch.zeros, torch.ones, torch.full, torch.tensor}


def _methods(names: str) -> set[Callable]:
    functions = set()
    for owner in (torch, Tensor):
        functions |= {getattr(owner, name) for name in names.split() if hasattr(owner, name)}
    return {getattr(f, "__get__", f) if isinstance(f, _PROPERTY) else f for f in functions}


_PROPERTY = type(Tensor.shape)

# functions whose result may share numbers with their first argument
VIEWS = {F.dropout, Tensor.__getitem__} | _methods(
    "view view_as reshape reshape_as unsqueeze squeeze expand expand_as broadcast_to transpose "
    "swapaxes permute chunk split narrow unbind flatten contiguous to float double long type_as"
)

# what a tensor tells of itself without its numbers
QUERIES = {Tensor.__hash__, Tensor.__len__} | _methods(
    "size dim numel nelement ndimension is_floating_point is_complex is_contiguous is_tensor shape "
    "dtype ndim layout is_sparse is_quantized is_nested itemsize"
)

COUNTS = {Tensor.numel, Tensor.nelement, torch.numel}  # of all numbers of a tensor

# functions that give Python the numbers of a tensor
READS = _methods(
    "__bool__ __float__ __int__ __index__ __complex__ __contains__ __array__ __repr__ __format__ "
    "item tolist numpy equal allclose is_nonzero nonzero"
)

_RANDOM = (
    "rand randn randint randperm rand_like randn_like randint_like bernoulli bernoulli_ normal "
    "normal_ uniform_ multinomial poisson exponential_ geometric_ cauchy_ log_normal_ random_ "
    "alpha_dropout feature_alpha_dropout dropout1d dropout2d dropout3d gumbel_softmax rrelu"
)
RANDOM = frozenset(_RANDOM.split())
