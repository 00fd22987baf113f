"""A spline convolution and its gradients as torch operators with derivatives of any order.

They are the three partial derivatives of one form that is linear in each of its arguments,

    T(x, y, c, w) = Σ_e Σ_q w_eq ⟨x_j ⊙ y_i, c_{k_e + q}⟩      for the edges e: j → i,

so each one's gradients are the other two, and the algebra is closed. Derivatives of the spline
and a scalar for each edge live in the weights: w_eq = a_e B_q^(p)(t_e).
"""

import torch
from torch import Tensor

from schnetgeo.ops.backend import get_backend
from schnetgeo.ops.edges import Edges


def spline_conv(
    x: Tensor, table: Tensor, interval: Tensor, weights: Tensor, edges: Edges
) -> Tensor:
    """y_i = Σ_{e: j→i} x_j ⊙ Σ_q w_eq c_{k_e + q}, the continuous-filter convolution.

    Args:
        x: (N, F) features.
        table: (M, F) coefficients c of the spline.
        interval: (E,) k_e, the first of the four coefficients of each edge, at most M − 4.
        weights: (E, 4) w_eq, such as `bspline.weights(t)`, 0 for an edge that does not count.
        edges: sorted by target.

    Raises:
        RuntimeError: if shapes, types or devices do not fit together.
    """
    return torch.ops.schnetgeo.spline_conv(x, table, interval, weights, *edges)


def spline_conv_grad_weights(
    x: Tensor, y: Tensor, table: Tensor, interval: Tensor, edges: Edges
) -> Tensor:
    """d_eq = ⟨x_j ⊙ y_i, c_{k_e + q}⟩, (E, 4): ∂⟨y, spline_conv(x)⟩/∂w_eq."""
    return torch.ops.schnetgeo.spline_conv_grad_weights(x, y, table, interval, *edges)


def spline_conv_grad_table(
    x: Tensor, y: Tensor, interval: Tensor, weights: Tensor, edges: Edges, num_knots: int
) -> Tensor:
    """g_m = Σ_{e, q: k_e + q = m} w_eq x_j ⊙ y_i, (M, F): the gradient for the coefficients."""
    return torch.ops.schnetgeo.spline_conv_grad_table(x, y, interval, weights, *edges, num_knots)


@torch.library.custom_op("schnetgeo::spline_conv", mutates_args=())
def _spline_conv(
    x: Tensor, table: Tensor, interval: Tensor, weights: Tensor,
    source: Tensor, target: Tensor, start: Tensor, reverse: Tensor,
) -> Tensor:  # fmt: skip
    edges = Edges(source, target, start, reverse)
    _check(interval, edges, table.size(0), x, table=table, weights=weights)
    out = x.new_empty(x.shape)  # empty_like keeps strides that kernels do not write through
    get_backend(x).spline_conv(x, table, interval, weights, edges, out)
    return out


@torch.library.custom_op("schnetgeo::spline_conv_grad_weights", mutates_args=())
def _spline_conv_grad_weights(
    x: Tensor, y: Tensor, table: Tensor, interval: Tensor,
    source: Tensor, target: Tensor, start: Tensor, reverse: Tensor,
) -> Tensor:  # fmt: skip
    edges = Edges(source, target, start, reverse)
    _check(interval, edges, table.size(0), x, y=y, table=table)
    out = x.new_empty(interval.numel(), 4)
    get_backend(x).spline_conv_grad_weights(x, y, table, interval, edges, out)
    return out


@torch.library.custom_op("schnetgeo::spline_conv_grad_table", mutates_args=())
def _spline_conv_grad_table(
    x: Tensor, y: Tensor, interval: Tensor, weights: Tensor,
    source: Tensor, target: Tensor, start: Tensor, reverse: Tensor, num_knots: int,
) -> Tensor:  # fmt: skip
    edges = Edges(source, target, start, reverse)
    _check(interval, edges, num_knots, x, y=y, weights=weights)
    out = x.new_empty(num_knots, x.size(1))
    module = get_backend(x)
    module.spline_conv_grad_table(
        x, y, module.sort_by_interval(interval, num_knots), weights, edges, out
    )
    return out


@_spline_conv.register_fake
def _(x, table, interval, weights, source, target, start, reverse):
    return x.new_empty(x.shape)


@_spline_conv_grad_weights.register_fake
def _(x, y, table, interval, source, target, start, reverse):
    return x.new_empty(interval.size(0), 4)


@_spline_conv_grad_table.register_fake
def _(x, y, interval, weights, source, target, start, reverse, num_knots):
    return x.new_empty(num_knots, x.size(1))


def _keep_conv(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _conv_backward(ctx, grad):
    x, table_, interval, weights, *edges = ctx.saved_tensors
    edges = Edges(*edges)
    need_x, need_table, _, need_weights = ctx.needs_input_grad[:4]
    back = interval.index_select(0, edges.reverse), weights.index_select(0, edges.reverse)
    return (
        spline_conv(grad, table_, *back, edges) if need_x else None,
        spline_conv_grad_table(x, grad, interval, weights, edges, table_.size(0))
        if need_table
        else None,
        None,
        spline_conv_grad_weights(x, grad, table_, interval, edges) if need_weights else None,
        *[None] * 4,
    )


def _dot_backward(ctx, grad):
    x, y, table_, interval, *edges = ctx.saved_tensors
    edges = Edges(*edges)
    need_x, need_y, need_table = ctx.needs_input_grad[:3]
    back = interval.index_select(0, edges.reverse), grad.index_select(0, edges.reverse)
    return (
        spline_conv(y, table_, *back, edges) if need_x else None,
        spline_conv(x, table_, interval, grad, edges) if need_y else None,
        spline_conv_grad_table(x, y, interval, grad, edges, table_.size(0)) if need_table else None,
        *[None] * 5,
    )


def _keep_table(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:-1])


def _table_backward(ctx, grad):
    x, y, interval, weights, *edges = ctx.saved_tensors
    edges = Edges(*edges)
    need_x, need_y, _, need_weights = ctx.needs_input_grad[:4]
    back = interval.index_select(0, edges.reverse), weights.index_select(0, edges.reverse)
    return (
        spline_conv(y, grad, *back, edges) if need_x else None,
        spline_conv(x, grad, interval, weights, edges) if need_y else None,
        None,
        spline_conv_grad_weights(x, y, grad, interval, edges) if need_weights else None,
        *[None] * 5,
    )


_spline_conv.register_autograd(_conv_backward, setup_context=_keep_conv)
_spline_conv_grad_weights.register_autograd(_dot_backward, setup_context=_keep_conv)
_spline_conv_grad_table.register_autograd(_table_backward, setup_context=_keep_table)


def _check(interval: Tensor, edges: Edges, num_knots: int, x: Tensor, **others: Tensor) -> None:
    """Raise before a kernel reads beyond the end of a tensor."""
    if edges.source.device != x.device or interval.device != x.device:
        raise RuntimeError(f"edges must be on the device of the features, {x.device}")
    if interval.shape != edges.source.shape:
        raise RuntimeError(f"{edges.source.numel()} edges, but {interval.numel()} intervals")
    if x.dim() != 2 or edges.start.numel() != x.size(0) + 1:
        raise RuntimeError(
            f"features {tuple(x.shape)}, but edges of {edges.start.numel() - 1} atoms"
        )
    shapes = {"y": x.shape, "table": (num_knots, x.size(1)), "weights": (interval.numel(), 4)}
    for name, tensor in others.items():
        if tensor.dtype != x.dtype or tensor.device != x.device:
            raise RuntimeError(
                f"tensors must share type and device, got {x.dtype} on {x.device} and "
                f"{tensor.dtype} on {tensor.device}"
            )
        if tensor.shape != shapes[name]:
            raise RuntimeError(
                f"{name} must have shape {tuple(shapes[name])}, got {tuple(tensor.shape)}"
            )
    if x.device.type == "cpu" and interval.numel():
        low, high = interval.aminmax()
        if low < 0 or high > num_knots - 4:
            raise RuntimeError(
                f"an edge lies in interval {int(low if low < 0 else high)} of a table with "
                f"{num_knots - 3}; build the table for the longest and the shortest edge, or give "
                "the edge interval 0 and weight 0"
            )
