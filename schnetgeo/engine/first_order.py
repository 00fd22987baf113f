"""Gradients written by hand, which say so where somebody asks for theirs."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from schnetgeo.errors import InputError


def first_order(backward: Callable) -> Callable:
    """Decorate the `backward` of a function whose gradients have no gradients.

    `once_differentiable` leaves out what depends on parameters alone, without a word. Here the
    gradients are tied to `ctx.parameters`, so that every way to a second derivative ends in an
    `InputError`.
    """

    @functools.wraps(backward)
    def wrapped(ctx, *bars: Tensor):
        with torch.no_grad():
            gradients = backward(ctx, *bars)
        if not torch.is_grad_enabled():
            return gradients
        causes = [t for t in (*ctx.parameters, *bars) if t is not None and t.requires_grad]
        return _Once.apply(len(causes), *causes, *gradients)

    return wrapped


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, causes: int, *tensors: Tensor | None):
        return tuple(t if t is None else t.view_as(t) for t in tensors[causes:])

    @staticmethod
    def backward(ctx, *bars: Tensor):
        raise InputError(
            "a second derivative in the parameters, as of a gradient penalty, is not computed by "
            "the engine; take Potential(model, filters='exact')"
        )
