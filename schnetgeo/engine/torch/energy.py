"""Atomic values and edge gradients by torch on any device, with gradients for parameters."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from schnetgeo.engine.edges import KnotWeights
from schnetgeo.engine.first_order import first_order
from schnetgeo.engine.program import ModelProgram
from schnetgeo.engine.torch.executor import TorchExecutor


class TorchEnergy:
    """A program for any device.

    Args:
        program: of a model.
    """

    def __init__(self, program: ModelProgram):
        self.executor = TorchExecutor(program)

    def __call__(
        self,
        z: Int[Tensor, "N"],
        atom_weights: Float[Tensor, "N"],
        edges: KnotWeights,
        basis: Float[Tensor, "M+2 K"],
        gradients: bool,
        *parameters: Tensor,
    ) -> tuple[Tensor, ...]:
        """Edge gradients, and all results of the atoms.

        The gradients of Σ w_i y_i for lengths (E,) and directions (E, 3) of edges, and each result
        (N, components, channels).

        Args:
            z: atomic numbers.
            atom_weights: w_i; y_i is the program's energy.
            edges: of the batch.
            basis: functions on the knots.
            gradients: whether edge gradients are wanted; they are 0 otherwise.
            *parameters: the tensors that the program reads.
        """
        batch = edges, z, atom_weights
        return _Function.apply(self.executor, batch, gradients, basis, *parameters)


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx, executor: TorchExecutor, batch: tuple, gradients: bool, basis, *parameters):
        edges, z, atom_weights = batch
        result = executor.forward(parameters, edges, basis, z, atom_weights, gradients)
        ctx.tapes, ctx.executor = result.tapes, executor
        ctx.edge_gradients = result.radial is not None, result.angular is not None
        ctx.parameters = basis, *parameters
        ctx.save_for_backward(*parameters)
        radial, angular = result.radial, result.angular
        if radial is None:
            radial = edges.weights.new_zeros(edges.interval.numel())
        if angular is None:
            angular = radial.new_empty(0, 3)
        # the tapes hold these tensors: returned as they are they would hold the tapes in turn
        return radial.detach(), angular.detach(), *result.values

    @staticmethod
    @first_order
    def backward(ctx, radial_bar: Tensor, angular_bar: Tensor, *values_bar: Tensor):
        _ = ctx.saved_tensors  # an error, if a weight changed since
        has_radial, has_angular = ctx.edge_gradients
        bars = radial_bar if has_radial else None, angular_bar if has_angular else None
        gradients, basis = ctx.executor.backward(ctx.tapes, values_bar, *bars)
        return None, None, None, basis, *gradients
